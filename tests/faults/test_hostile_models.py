"""The JSON of models and operators may hold anything: it is read right, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_world import CommandWorld
from models import random_operators
from odd_json import TEXTS, changed, require_refusals, require_told, text_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lemon.checkpoint import INDEX, WEIGHTS, Checkpoint
from lemon.data.text.tokenization import require_tokenizer
from lemon.errors import BadInput
from lemon.operators.file import load_operators, read_metadata, save_operators


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A user's own model folder, without a manifest."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def test_the_config_of_a_model(model: Path) -> None:
    require_refusals(model / "config.json", lambda: Checkpoint(model).digest())


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "head_dim", "vocab_size"])
@pytest.mark.parametrize("value", [True, "5", 5.0, [5], {"a": 5}, 10**9, 10**400, -5, 0])
def test_a_size_of_another_type_or_beyond_reason(key: str, value: Any, model: Path) -> None:
    path = model / "config.json"
    content = text_of({**json.loads(path.read_bytes()), key: value})
    assert require_told(path, content, lambda: Checkpoint(model), key)


def test_the_index_of_shards(model: Path) -> None:
    weights, shard = load_file(model / WEIGHTS), "model-1-of-1.safetensors"
    (model / WEIGHTS).rename(model / shard)
    path = model / INDEX
    path.write_bytes(text_of({"metadata": {}, "weight_map": dict.fromkeys(sorted(weights), shard)}))
    sound = path.read_bytes()
    for what, text in TEXTS.items():
        assert require_told(path, text, lambda: Checkpoint(model), what)
    for value in (None, 3, "x", [], [shard], {"a": 3}, {"a": None}, {"a": [shard]}, {"a": {}}):
        content = text_of({"weight_map": value})
        assert require_told(path, content, lambda: Checkpoint(model), str(value))
    for value in ({}, {"a": "none.safetensors"}, {"a": ""}, {"a": "\0"}):
        path.write_bytes(text_of({"weight_map": value}))
        with pytest.raises(BadInput):
            Checkpoint(model)
    path.write_bytes(sound)
    assert Checkpoint(model)


def rewrite_header(path: Path, header: bytes) -> bytes:
    """A safetensors file's bytes with another header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def header_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return dict(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]))


def test_the_header_of_weights(model: Path) -> None:
    path = model / WEIGHTS
    sound, header = path.read_bytes(), header_of(path)
    first = next(name for name in header if name != "__metadata__")
    cases = {what: text for what, text in TEXTS.items()}
    for key in ("__metadata__", first):
        cases |= {
            f"{key}{what}": text_of({**header, key: value}) for what, value in changed(header[key])
        }
    for what, text in cases.items():
        path.write_bytes(sound)
        content = rewrite_header(path, text)
        refused = require_told(path, content, lambda: Checkpoint(model).digest(), what)
        assert refused or what.startswith("__metadata__"), f"{what} is taken"


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_another_length(length: int, model: Path) -> None:
    path = model / WEIGHTS
    content = length.to_bytes(8, "little") + path.read_bytes()[8:]
    assert require_told(path, content, lambda: Checkpoint(model), str(length))


def test_the_metadata_of_operators(model: Path, tmp_path: Path) -> None:
    source = Checkpoint(model).shape
    path = tmp_path / "operators.safetensors"
    operators = random_operators(source, source.with_depth(2))
    save_operators(path, operators, source_digest="0" * 64, method="lemon")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)

    def read() -> None:
        read_metadata(path)
        load_operators(path)

    for key in ("source", "target", "radii"):
        values = [text.decode("utf-8", "replace") for text in TEXTS.values()]
        values += [json.dumps(value) for _, value in changed(json.loads(metadata[key]))]
        for value in values:
            save_file(tensors, path, metadata={**metadata, key: value})
            require_told(path, path.read_bytes(), read, f"{key} is {value[:80]}")
    for key in metadata.keys() - {"format"}:  # which other readers ask for
        save_file(tensors, path, metadata={k: v for k, v in metadata.items() if k != key})
        assert require_told(path, path.read_bytes(), read, f"no {key}")


def test_the_tokenizer_of_a_model(model: Path) -> None:
    path = model / "tokenizer.json"
    content = json.loads(path.read_bytes())
    tokens = {token: id for token, id in content["model"]["vocab"].items() if id < 2}
    path.write_bytes(text_of({**content, "model": {**content["model"], "vocab": tokens}}))
    require_refusals(path, lambda: require_tokenizer(model))
    sound = json.loads(path.read_bytes())
    for id in (272, 10**9, 10**30, -1):  # the embedding has 272 rows
        for value in (
            {**sound, "model": {**sound["model"], "vocab": {**tokens, "fox": id}}},
            {**sound, "added_tokens": [{**sound["added_tokens"][0], "id": id}]},
        ):
            assert require_told(path, text_of(value), lambda: require_tokenizer(model), str(id))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_weight_that_is_not_finite(value: float, dtype: torch.dtype, model: Path) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in load_file(model / WEIGHTS).items()}
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    assert Checkpoint(model).digest()
    for name, place in (("model.norm.weight", (0,)), ("model.embed_tokens.weight", (-1, -1))):
        sound = weights[name][place].clone()
        weights[name][place] = value
        save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
        with pytest.raises(BadInput, match=rf"{WEIGHTS}: {name} holds values that are not finite"):
            Checkpoint(model).digest()
        weights[name][place] = sound


@pytest.mark.parametrize("command", ["build", "learn", "fuse", "evaluate"])
def test_weights_that_are_not_finite_are_found_before_the_work(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nobody is told to lower the learning rate."""
    model = Path(shutil.copytree(world.folder / "source", tmp_path / "model"))
    (model / "manifest.json").unlink()
    weights = load_file(model / WEIGHTS)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    option = "model" if command == "evaluate" else "source"
    assert world.lemon(command, tmp_path / "out", **{option: str(model)}) == 2
    told = capsys.readouterr().err
    assert f"{model / WEIGHTS}: model.norm.weight holds values that are not finite" in told
    assert "rate" not in told
