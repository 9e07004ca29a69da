"""A model folder holds what the program knows: nothing in it may change the weights in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_world import CommandWorld, tree
from learning_world import LearningWorld
from safetensors.torch import save_file

from lemon.checkpoint import ADAPTERS, WEIGHTS, Checkpoint
from lemon.errors import BadInput

READERS = ["fuse", "build", "learn", "evaluate", "prepare text"]


def option_of(command: str) -> str:
    return "model" if command == "evaluate" else "source"


@pytest.fixture(params=["a folder of ours", "a user's folder"])
def model(request: Any, learning_world: LearningWorld, tmp_path: Path) -> Path:
    """The smoke preset's source, with its manifest and without."""
    folder = Path(shutil.copytree(learning_world.source, tmp_path / "model"))
    if request.param == "a user's folder":
        (folder / "manifest.json").unlink()
    return folder


def add_adapter(folder: Path, name: str) -> Path:
    """A file by which transformers would add a low-rank update to a query projection."""
    path = folder / name
    if name.endswith(".json"):
        targets = {"peft_type": "LORA", "r": 2, "lora_alpha": 99, "target_modules": ["q_proj"]}
        path.write_text(json.dumps(targets))
    else:
        save_file({"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, path)
    return path


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_refused_by_name(name: str, model: Path) -> None:
    path = add_adapter(model, name)
    with pytest.raises(BadInput, match=f"{path}: an adapter would be added to the weights; merge"):
        Checkpoint(model)


@pytest.mark.parametrize("command", READERS)
def test_no_command_takes_a_model_with_an_adapter(
    command: str,
    model: Path,
    world: CommandWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = add_adapter(model, "adapter_config.json")
    before = tree(tmp_path)
    assert world.lemon(command, tmp_path / "out", **{option_of(command): str(model)}) == 2
    assert f"lemon: error: {path}: an adapter" in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("quantization_config", {}),
        ("quantization_config", ""),
        ("transformers_weights", "adapter_model.bin"),
        ("transformers_weights", "other.safetensors"),
        ("transformers_weights", ""),
    ],
)
def test_a_key_by_which_other_weights_are_loaded_is_refused(
    key: str, value: object, learning_world: LearningWorld, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(learning_world.source, tmp_path / "model"))
    (model / "manifest.json").unlink()
    path = model / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, key: value}))
    with pytest.raises(BadInput, match=f"{path}: {key} is set, which changes the weights"):
        Checkpoint(model)
    path.write_text(json.dumps({**config, key: None}))
    assert Checkpoint(model)


@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "modeling.py", "pytorch_model.bin", "model-2.safetensors"],
)
def test_a_file_that_the_manifest_does_not_list_is_refused(
    name: str, learning_world: LearningWorld, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(learning_world.source, tmp_path / "model"))
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("x")
    with pytest.raises(BadInput, match=f"{model / name}: is not among the files of .*take it away"):
        Checkpoint(model)


def test_a_listed_file_that_is_gone_is_refused(
    learning_world: LearningWorld, tmp_path: Path
) -> None:
    names = {path.name for path in learning_world.source.iterdir()} - {WEIGHTS, "manifest.json"}
    for name in sorted(names):
        model = Path(shutil.copytree(learning_world.source, tmp_path / name))
        (model / name).unlink()
        with pytest.raises(BadInput, match=f"{model / name}: missing, though .*lists it"):
            Checkpoint(model)


def test_weights_of_another_model_are_refused(
    learning_world: LearningWorld, tmp_path: Path
) -> None:
    """Sound in themselves, and not those whose digest the folder's manifest has."""
    model = Path(shutil.copytree(learning_world.source, tmp_path / "model"))
    source = Checkpoint(model)
    tensors = {name: source.tensor(name).clone() for name in source.specs}
    tensors["model.norm.weight"] *= 2
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=f"{model / WEIGHTS}: is damaged; the weights have"):
        Checkpoint(model).digest()
