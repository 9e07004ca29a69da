"""Operators to a file and back."""

from __future__ import annotations

import json

import pytest
import torch
from models import GROUPED_TIED, random_operators, smaller
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lemon.architecture import LlamaShape
from lemon.errors import BadInput, WorkFailed
from lemon.operators.file import load_operators, read_metadata, save_operators
from lemon.radii import Radii

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
