"""Operators to a file and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from models import GROUPED_TIED, random_operators, smaller
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput, WorkFailed
from lemon.files.tensor_file import TensorFile, write_tensor_file
from lemon.methods.context import BuildContext
from lemon.methods.start import operators_of
from lemon.operators.algebra import Operators
from lemon.operators.factor import NOTHING, Dense, OneHot, keeping
from lemon.operators.file import (
    load_operators,
    operators_digest,
    read_metadata,
    save_operators,
)
from lemon.operators.fuse import fuse
from lemon.provenance import file_digest
from lemon.radii import Radii

GOLDEN = Path(__file__).parents[1] / "golden" / "operators_v1"
SOURCE = LlamaShape(**GROUPED_TIED)


@pytest.fixture
def operators():
    return random_operators(SOURCE, smaller(SOURCE), Radii(hidden=2, attention=8, ffn=4))


@pytest.fixture
def file(operators, tmp_path):
    path = tmp_path / "run" / "operators.safetensors"
    save_operators(path, operators, source_digest="abc", method="lemon")
    return path


def rewrite(path, **metadata: str | None) -> None:
    with safe_open(path, "pt") as file:
        kept = {**file.metadata(), **metadata}
    kept = {key: value for key, value in kept.items() if value is not None}
    save_file(load_file(path), path, metadata=kept)


def test_round_trip(file, operators):
    again, metadata = load_operators(file)
    assert (again.source, again.target, again.radii) == (SOURCE, operators.target, operators.radii)
    assert (metadata.source_digest, metadata.method) == ("abc", "lemon")
    assert metadata == read_metadata(file)
    before, after = dict(operators.named_factors()), dict(again.named_factors())
    assert before.keys() == after.keys()
    assert all(after[name].dense().equal(before[name].dense()) for name in before)


def test_the_format_is_the_documented_one(file):
    """Any safetensors reader sees the contract's names, float32, and the metadata."""
    tensors = load_file(file)
    layers = range(SOURCE.num_hidden_layers)
    types = ("q", "k", "v", "o", "gate", "up", "down", "ln1", "ln2")
    assert tensors.keys() == {
        *(f"gamma.{type}" for type in types),
        "hidden",
        *(f"attn.{j}" for j in layers),
        *(f"ffn.{j}" for j in layers),
    }
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert metadata["format_version"] == "2"
    assert json.loads(metadata["target"])["num_hidden_layers"] == 3
    assert json.loads(metadata["radii"]) == {"hidden": 2, "attention": 8, "ffn": 4}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format_version": None}, "is not an operators file"),
        ({"format_version": "3"}, "has format version 3, this version of lemon reads 1 and 2"),
        ({"source": None}, "metadata is damaged.*'source'"),
        ({"target": "{"}, "metadata is damaged"),
        ({"radii": '{"depth": 1}'}, "metadata is damaged"),
        ({"radii": '{"hidden": 2, "attention": 8, "ffn": 2}'}, r"ffn.0 is .*must be \[24, 32\]"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(file, metadata, message):
    rewrite(file, **metadata)
    for read in (read_metadata, load_operators):
        with pytest.raises(BadInput, match=message) as error:
            read(file)
        assert str(file) in str(error.value)


@pytest.fixture
def selection(tmp_path):
    """Operators of indices alone, but for one matrix, in a file."""
    target = smaller(SOURCE)
    layers = range(SOURCE.num_hidden_layers)
    operators = Operators(
        SOURCE,
        target,
        gamma={**dict.fromkeys(LAYER_TYPES, keeping([0, 2, 4], 5)), "q": Dense(torch.eye(3, 5))},
        hidden=keeping(range(71, 31, -1), 72),
        attn=dict.fromkeys(layers, keeping(range(16), 24)),
        ffn={j: keeping(range(j, j + 48), 64) for j in layers},
    )
    path = tmp_path / "run" / "operators.safetensors"
    save_operators(path, operators, source_digest="abc", method="shear")
    return path, operators


def test_indices_are_stored_as_int16_and_a_matrix_stays_a_matrix(selection):
    path, operators = selection
    tensors = load_file(path)
    assert tensors["hidden"].dtype == torch.int16
    assert tensors["hidden"].tolist() == list(range(71, 31, -1))
    assert tensors["ffn.3"].tolist() == list(range(3, 51))
    assert tensors["gamma.q"].dtype == torch.float32 and tensors["gamma.q"].shape == (3, 5)
    again, _ = load_operators(path)
    for (name, before), (_, after) in zip(
        operators.named_factors(), again.named_factors(), strict=True
    ):
        assert type(after) is type(before), name
        assert after.shape == before.shape and after.dense().equal(before.dense()), name
    assert again.hidden.chosen.dtype == torch.int64  # what torch indexes with


@pytest.mark.parametrize(("inputs", "format"), [(2**15, "I16"), (2**15 + 1, "I32")])
def test_indices_have_the_narrowest_format_that_holds_them(tmp_path, inputs, format):
    shape = LlamaShape(**{**vars(SOURCE), "intermediate_size": inputs})
    last = inputs - 1
    chosen = [NOTHING, last, *range(inputs - 2)]
    operators = Operators(shape, shape, ffn={2: keeping(chosen, inputs)})
    path = tmp_path / "operators.safetensors"
    save_operators(path, operators, source_digest="abc", method="come")
    assert TensorFile(path, indices=True).entries["ffn.2"].format == format
    again, _ = load_operators(path)
    assert again.ffn[2].chosen.tolist() == chosen


def test_files_with_wide_indices_are_the_same_operators(selection):
    """A file of the earlier version, with int64 and its own digest, which manifests hold."""
    path, operators = selection
    narrow, digest = path.stat().st_size, operators_digest(path)
    wide = path.with_name("wide.safetensors")
    factors = dict(operators.named_factors())
    tensors = {n: f.chosen if isinstance(f, OneHot) else f.matrix for n, f in factors.items()}
    write_tensor_file(
        wide,
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        tensors.items(),
        format="F32",
        metadata=TensorFile(path, indices=True).metadata,
        indices={name: "I64" for name, factor in factors.items() if isinstance(factor, OneHot)},
    )
    assert operators_digest(wide) == file_digest(wide) == digest != file_digest(path)
    assert wide.stat().st_size > narrow
    again, metadata = load_operators(wide)
    assert metadata == read_metadata(path)
    for (_, before), (name, after) in zip(
        operators.named_factors(), again.named_factors(), strict=True
    ):
        assert type(after) is type(before) and after.dense().equal(before.dense()), name


def test_operators_without_indices_have_the_digest_of_their_file(file):
    assert operators_digest(file) == file_digest(file)
    golden = GOLDEN / "run" / "operators.safetensors"
    assert operators_digest(golden) == file_digest(golden)


def test_indices_above_the_whole_numbers_of_float32_are_kept(tmp_path):
    shapes, values = {"a": (3,)}, torch.tensor([2**24 + 1, 2**53 + 1, 5])
    path = tmp_path / "indices.safetensors"
    write_tensor_file(
        path, shapes, [("a", values)], format="F32", metadata={}, indices={"a": "I64"}
    )
    assert TensorFile(path, indices=True).read("a").equal(values)
    with pytest.raises(BadInput, match="number format I64; only F32, BF16, F16 weights are supp"):
        TensorFile(path)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.arange(40) + 33, "operator hidden chooses input 72; there are 0 to 71; build or"),
        (torch.arange(40) - 2, "operator hidden chooses input -2; there are 0 to 71; build or"),
        (torch.arange(39), r"operator hidden is \[39, 72\].*must be \[40, 72\]"),
        (torch.zeros(40, 72).long(), r"operator hidden has indices \[40, 72\], not one a row"),
        (torch.arange(40).char(), "hidden has number format I8; only F32, .*I32, I64 indices are"),
        (torch.arange(40.0), r"operator hidden is \[40\].*must be \[40, 72\]"),
    ],
)
def test_indices_at_fault_are_refused(selection, indices, message):
    path, _ = selection
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), "hidden": indices}, path, metadata=metadata)
    with pytest.raises(BadInput, match=message) as error:
        load_operators(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).count(str(path)) == 1


def test_version_1_is_read_and_fuses_to_the_same_model(tmp_path):
    """A finished run and the model that was fused from it, both written by the earlier version."""
    run, source = GOLDEN / "run", Checkpoint(GOLDEN / "source")
    operators, metadata = load_operators(run / "operators.safetensors")
    assert metadata == read_metadata(run / "operators.safetensors")
    selected = {name for name, f in operators.named_factors() if isinstance(f, OneHot)}
    assert selected == {"hidden", "attn.0", "attn.2", "ffn.0", "ffn.1"}
    stored = load_file(run / "operators.safetensors")
    for name, factor in operators.named_factors():
        assert factor.dense().equal(stored[name]), name
    started = operators_of(run, BuildContext(source, operators.target, operators.radii))
    save_operators(tmp_path / "2", started, source_digest=source.digest(), method="lemon")
    for number, file in enumerate((run / "operators.safetensors", tmp_path / "2")):
        fuse(source.path, file, tmp_path / f"model{number}")
        fused, expected = (
            Checkpoint(tmp_path / f"model{number}"),
            load_file(GOLDEN / "fused.safetensors"),
        )
        assert fused.specs.keys() == expected.keys()
        assert all(fused.tensor(name).equal(expected[name]) for name in expected)


def test_another_safetensors_file_is_refused(tiny_model_folder):
    with pytest.raises(BadInput, match="is not an operators file"):
        read_metadata(tiny_model_folder / "model.safetensors")


def test_operators_that_are_not_finite_are_neither_written_nor_read(file, operators):
    before = file.read_bytes()
    operators.gamma["q"].matrix[0, 0] = float("nan")
    with pytest.raises(WorkFailed, match=r"gamma.q has values that are not finite"):
        save_operators(file, operators, source_digest="abc", method="lemon")
    assert file.read_bytes() == before
    tensors = load_file(file)
    tensors["hidden"][0, 0] = float("inf")
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(tensors, file, metadata=metadata)
    with pytest.raises(BadInput, match="hidden holds values that are not finite"):
        load_operators(file)
