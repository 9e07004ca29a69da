"""The source model's folder: converted bit for bit, checked, and opened by plain transformers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model
from packaged_files import locked
from roundoff import logits_off
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.configuration.preset import SourceSettings
from lemon.data import source_model
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import LockedAsset, snapshot_digest
from lemon.data.source_model import prepare_source
from lemon.errors import BadInput, WorkFailed

GGUF_NAMES = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
}


def settings(shape: LlamaShape, kind: str = "gguf", **changes: object) -> SourceSettings:
    return SourceSettings.model_validate(
        {
            "label": "tiny",
            "kind": kind,
            "asset": None if kind == "random" else "tiny",
            "dtype": "float32",
            "shape": {**vars(shape), **changes},
        }
    )


def llama_cpp_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """The rows of q or k as llama.cpp stores them: each rotated pair of channels side by side."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(path: Path, model: Path) -> None:
    """Write a Hugging Face model folder as an unquantised GGUF file."""
    import gguf

    checkpoint = Checkpoint(model)
    shape = checkpoint.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_context_length(512)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(checkpoint.config["rms_norm_eps"])
    writer.add_vocab_size(shape.vocab_size)
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    one, other, *_ = vocabulary
    tokens = [*vocabulary, "<|endoftext|>", one + other]
    unused = shape.vocab_size - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*tokens, *(f"<unused{n}>" for n in range(unused))])
    writer.add_token_types([1] * 256 + [3, 1] + [3] * unused)
    writer.add_token_merges([f"{one} {other}"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    outside = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    heads = {"q": shape.num_attention_heads, "k": shape.num_key_value_heads}
    for name, spec in checkpoint.specs.items():
        weight = checkpoint.tensor(name).numpy()
        if spec.type in heads:
            weight = llama_cpp_order(weight, heads[spec.type])
        place = outside.get(name) or f"blk.{spec.layer}.{GGUF_NAMES[spec.type]}.weight"
        writer.add_tensor(place, np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def as_asset(folder: Path, **files: Path) -> dict[str, LockedAsset]:
    """Pack files into an archive in `folder` and lock it as the asset `tiny`."""
    archive = folder / "tiny.whl"
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in files.items():
            file.write(path, f"tiny/{name}.gguf")
    return {"tiny": locked(archive, ("*.gguf",))}


@pytest.fixture(scope="module", params=[GROUPED_TIED, PLAIN_UNTIED], ids=["grouped", "plain"])
def original(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_tiny_model(folder / "model", **request.param)
    write_gguf(folder / "tiny.gguf", folder / "model")
    return folder


def test_a_gguf_file_becomes_the_model_that_it_was_made_from(original, tmp_path):
    lock = as_asset(tmp_path, tiny=original / "tiny.gguf")
    expected = Checkpoint(original / "model")
    out = tmp_path / "source"
    prepare_source(settings(expected.shape), lock=lock, cache=tmp_path, out=out, seed=0)
    converted = Checkpoint(out)
    assert converted.shape == expected.shape
    for name in expected.specs:
        assert torch.equal(converted.tensor(name), expected.tensor(name)), name
    tokens = torch.arange(1, 33)[None]
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (out, original / "model")]
    with torch.inference_mode():
        logits, wanted = (model(tokens).logits for model in models)
    torch.testing.assert_close(logits, wanted, atol=logits_off(models[1], tokens), rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.decode(tokenizer("A fox ran.")["input_ids"]) == "A fox ran."
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["weights"] == expected.digest() == converted.digest()
    assert manifest["inputs"] == {"tiny": lock["tiny"].sha256}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "tiny.whl"]


def test_sizes_other_than_the_presets_are_named_with_both_values(original, tmp_path):
    lock = as_asset(tmp_path, tiny=original / "tiny.gguf")
    shape = Checkpoint(original / "model").shape
    wrong = settings(shape, num_hidden_layers=9, intermediate_size=65)
    with pytest.raises(BadInput) as failure:
        prepare_source(wrong, lock=lock, cache=tmp_path, out=tmp_path / "source", seed=0)
    layers = shape.num_hidden_layers
    assert f"num_hidden_layers {layers}, not 9" in str(failure.value)
    assert "intermediate_size 64, not 65" in str(failure.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.whl"]


def test_a_model_that_does_not_say_what_it_should_is_not_kept(original, tmp_path, monkeypatch):
    monkeypatch.setitem(source_model.KNOWN_COMPLETIONS, "tiny", ("The capital is", "Paris"))
    lock = as_asset(tmp_path, tiny=original / "tiny.gguf")
    shape = Checkpoint(original / "model").shape
    with pytest.raises(WorkFailed, match="without 'Paris'"):
        prepare_source(settings(shape), lock=lock, cache=tmp_path, out=tmp_path / "source", seed=0)
    assert not (tmp_path / "source").exists()


def test_an_asset_with_two_gguf_files_is_refused(original, tmp_path):
    lock = as_asset(tmp_path, one=original / "tiny.gguf", two=original / "tiny.gguf")
    shape = Checkpoint(original / "model").shape
    with pytest.raises(BadInput, match="holds 2 GGUF files"):
        prepare_source(settings(shape), lock=lock, cache=tmp_path, out=tmp_path / "source", seed=0)


def test_a_snapshot_of_the_hub_is_written_as_one_file_in_the_presets_format(
    tiny_untied_model_folder, tmp_path
):
    digest = snapshot_digest(AssetFiles(tiny_untied_model_folder))
    name = tiny_untied_model_folder.name
    lock = {"tiny": LockedAsset("hub", "o/n", "1", digest, 1, name, ("*",), "-")}
    source = Checkpoint(tiny_untied_model_folder)
    wanted = settings(source.shape, kind="hub").model_copy(update={"dtype": "bfloat16"})
    out = tmp_path / "source"
    prepare_source(wanted, lock=lock, cache=tiny_untied_model_folder.parent, out=out, seed=0)
    stored = load_file(out / "model.safetensors")
    for name in source.specs:
        assert torch.equal(stored[name], source.tensor(name).bfloat16()), name
    assert AutoTokenizer.from_pretrained(out)("a")["input_ids"] == [64]


def test_a_random_source_depends_on_its_seed_alone(tmp_path):
    shape = LlamaShape(**{**GROUPED_TIED, "vocab_size": 320})
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / name
        prepare_source(settings(shape, "random"), lock={}, cache=tmp_path, out=out, seed=seed)
        digests.append(Checkpoint(out).digest())
    assert digests[0] == digests[1] != digests[2]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert len(tokenizer) <= 320
    ids = tokenizer("The red fox eats berries.")["input_ids"]
    assert tokenizer.decode(ids) == "The red fox eats berries."
    assert len(ids) < len("The red fox eats berries.")  # it has learned merges
