"""Model folders read and written one tensor at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import GROUPED_TIED, write_tiny_model
from safetensors.torch import load_file, save_file

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import INDEX, WEIGHTS, Checkpoint
from lemon.errors import BadInput
from lemon.files.storage import atomic_folder
from lemon.model_folder import write_checkpoint


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


@pytest.fixture
def copy(tiny_model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "copy"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_reads_every_tensor_as_it_is_stored(tmp_path, dtype):
    folder = write_tiny_model(tmp_path, dtype=dtype, **GROUPED_TIED)
    checkpoint = Checkpoint(folder)
    assert checkpoint.shape == LlamaShape(**GROUPED_TIED)
    assert checkpoint.dtype == getattr(torch, dtype)
    assert list(checkpoint.specs) == [spec.name for spec in tensor_specs(checkpoint.shape)]
    for name, tensor in stored(folder).items():
        read = checkpoint.tensor(name)
        assert read.dtype == tensor.dtype
        assert read.equal(tensor)
        assert checkpoint.num_bytes(name) == tensor.nbytes


def test_a_read_tensor_is_memory_of_its_own(copy):
    checkpoint = Checkpoint(copy)
    checkpoint.tensor("model.norm.weight").zero_()
    assert checkpoint.tensor("model.norm.weight").all()


def test_shards_and_one_file_are_the_same_model(copy):
    whole = Checkpoint(copy)
    digest, weights = whole.digest(), stored(copy)
    names = sorted(weights)
    shards = {"model-1-of-2.safetensors": names[:20], "model-2-of-2.safetensors": names[20:]}
    for shard, members in shards.items():
        part = {name: weights[name] for name in members}
        save_file(part, copy / shard, metadata={"format": "pt"})
    index = {"weight_map": {name: shard for shard, members in shards.items() for name in members}}
    (copy / INDEX).write_text(json.dumps(index))
    (copy / WEIGHTS).unlink()
    sharded = Checkpoint(copy)
    assert sharded.digest() == digest
    assert all(sharded.tensor(name).equal(weights[name]) for name in names)


def test_the_digest_is_of_the_weights_alone(copy):
    digest, weights = Checkpoint(copy).digest(), stored(copy)
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt", "another": "header"})
    assert Checkpoint(copy).digest() == digest
    weights["model.layers.2.mlp.up_proj.weight"][3, 5] += 1e-6
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt"})
    assert Checkpoint(copy).digest() != digest


def test_mixed_number_formats_widen_to_float32(copy):
    weights = {name: tensor.bfloat16() for name, tensor in stored(copy).items()}
    weights["model.norm.weight"] = weights["model.norm.weight"].float()
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt"})
    assert Checkpoint(copy).dtype == torch.float32


def test_a_stored_copy_of_a_tied_head_does_no_harm(copy):
    weights = stored(copy)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt"})
    checkpoint = Checkpoint(copy)
    assert "lm_head.weight" not in checkpoint.specs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_written_folders_read_back(tiny_model_folder, tmp_path, dtype):
    source, out = Checkpoint(tiny_model_folder), tmp_path / "out"
    target = source.shape.with_depth(2)
    specs = list(tensor_specs(target))
    backwards = ((spec.name, source.tensor(spec.name)) for spec in reversed(specs))
    write_checkpoint(out, target, backwards, like=tiny_model_folder, dtype=dtype)
    written = Checkpoint(out)
    assert written.shape == target
    assert written.dtype == dtype
    for spec in specs:
        assert written.tensor(spec.name).equal(source.tensor(spec.name).to(dtype))
    kept = {"rope_parameters", "rms_norm_eps", "eos_token_id", "head_dim"}
    assert {key: written.config[key] for key in kept} == {key: source.config[key] for key in kept}
    assert (out / "tokenizer.json").read_bytes() == (
        tiny_model_folder / "tokenizer.json"
    ).read_bytes()


@pytest.mark.parametrize("fault", ["missing", "twice", "shape"])
def test_tensors_that_are_not_the_models_are_refused(tiny_model_folder, tmp_path, fault):
    source, out = Checkpoint(tiny_model_folder), tmp_path / "out"
    tensors = [(name, source.tensor(name)) for name in source.specs]
    if fault == "missing":
        tensors.pop()
    elif fault == "twice":
        tensors.append(tensors[0])
    else:
        tensors[0] = (tensors[0][0], tensors[0][1].T)
    with pytest.raises(ValueError), atomic_folder(out) as folder:
        write_checkpoint(folder, source.shape, tensors, like=source.path, dtype=source.dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"attention_bias": True}, "attention_bias is true"),
        ({"hidden_size": 80}, r"embed_tokens.weight is \[272, 72\], its config says \[272, 80\]"),
        ({"num_hidden_layers": 6}, r"model.layers.5.self_attn.q_proj.weight is missing"),
        ({"num_hidden_layers": 4}, r"model.layers.4.\S* does not belong"),
    ],
)
def test_a_config_of_another_model_is_refused(copy, config, message):
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    with pytest.raises(BadInput, match=message):
        Checkpoint(copy)


def test_opening_and_checking_needs_no_torch(tiny_model_folder):
    script = (
        "import sys; from pathlib import Path\n"
        "from lemon.checkpoint import Checkpoint\n"
        "import lemon.operators.fuse, lemon.similarity.cka\n"
        f"Checkpoint(Path({str(tiny_model_folder)!r})).digest()\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
