"""Fused models on disk: what the folder holds, what transformers loads, and the memory it took."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import GROUPED_TIED, random_operators, smaller, write_tiny_model
from roundoff import logits_off
from safetensors.torch import load_file

from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse, fuse_tensors
from lemon.radii import Radii


@pytest.fixture(params=["tiny_model_folder", "tiny_untied_model_folder"])
def source(request) -> Checkpoint:
    return Checkpoint(request.getfixturevalue(request.param))


@pytest.mark.slow
def test_exported_model_loads_in_a_fresh_process_with_the_same_logits(source, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    target = smaller(source.shape)
    operators = random_operators(source.shape, target, Radii(2, 8, 2))
    save_operators(
        tmp_path / "operators.safetensors", operators, source_digest=source.digest(), method="x"
    )
    out = tmp_path / "model"
    fuse(source.path, tmp_path / "operators.safetensors", out)

    model = LlamaForCausalLM(LlamaConfig(**config_of(target, source.config))).eval()
    missing = model.load_state_dict(dict(fuse_tensors(source, operators)), strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= (
        {"lm_head.weight"} if target.tie_word_embeddings else set()
    )
    tokens = torch.arange(2 * 20).reshape(2, 20)
    with torch.no_grad():
        expected = model(tokens).logits
    torch.save(expected, tmp_path / "expected.pt")
    script = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "folder = sys.argv[1]\n"
        "model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "assert AutoTokenizer.from_pretrained(folder)('hi').input_ids\n"
        "assert model.dtype == torch.float32\n"
        "with torch.no_grad():\n"
        "    logits = model(torch.arange(40).reshape(2, 20)).logits\n"
        "print(float((logits - torch.load(sys.argv[2])).abs().max()))\n"
    )
    arguments = [sys.executable, "-c", script, str(out), str(tmp_path / "expected.pt")]
    difference = float(subprocess.check_output(arguments, text=True).strip())
    assert difference <= logits_off(model, tokens)
    assert expected.abs().max() > 0.1


def test_a_bfloat16_source_gives_a_bfloat16_model_rounded_once(tmp_path):
    folder = write_tiny_model(tmp_path / "source", dtype="bfloat16", **GROUPED_TIED)
    source = Checkpoint(folder)
    operators = random_operators(source.shape, source.shape.with_depth(3))
    path = tmp_path / "operators.safetensors"
    save_operators(path, operators, source_digest=source.digest(), method="random")
    fuse(folder, path, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in fuse_tensors(source, operators):
        assert stored[name].equal(weight.bfloat16()), name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["num_hidden_layers"] == 3


def test_the_folder_has_the_companions_of_the_source_and_a_manifest(tiny_model_folder, tmp_path):
    source = Checkpoint(tiny_model_folder)
    path = tmp_path / "operators.safetensors"
    operators = random_operators(source.shape, source.shape.with_depth(2))
    save_operators(path, operators, source_digest=source.digest(), method="random")
    out = tmp_path / "deep" / "model"
    for _ in range(2):  # a second time replaces the first
        fuse(tiny_model_folder, path, out)
    expected = {file.name for file in Path(tiny_model_folder).iterdir()} | {"manifest.json"}
    assert {file.name for file in out.iterdir()} == expected
    assert [entry.name for entry in out.parent.iterdir()] == ["model"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["stage"] == "fuse"
    assert manifest["inputs"]["source"] == source.digest()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "select"), [(False, False), (True, False), (True, True)])
def test_peak_memory_stays_within_the_bound(tmp_path, width, select):
    """4 x the two largest tensors + 300 MB; the source alone takes 300 MB in float32."""
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("fuse_memory", benchmarks / "fuse_memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.measure(tmp_path, gigabytes=0.15, width=width, select=select)
    assert figures["peak"] < figures["bound"]
    assert figures["bound"] < 2 * figures["source"] + module.BASELINE
