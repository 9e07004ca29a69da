"""Damaged, foreign and unwritable files: one message with place and mend, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from models import random_operators
from safetensors.torch import load_file, save_file

from lemon.checkpoint import INDEX, WEIGHTS, Checkpoint
from lemon.errors import BadInput, WorkFailed
from lemon.files import storage, tensor_file
from lemon.operators.file import read_metadata, save_operators
from lemon.operators.fuse import fuse


@pytest.fixture
def model(tiny_model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "source"))


@pytest.fixture
def operators(model, tmp_path) -> Path:
    source = Checkpoint(model)
    path = tmp_path / "operators.safetensors"
    save_operators(
        path,
        random_operators(source.shape, source.shape.with_depth(2)),
        source_digest=source.digest(),
        method="random",
    )
    return path


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize("bytes_left", [0, 5, 100, -1, -1000])
def test_a_truncated_file_says_how_long_it_is_and_should_be(model, bytes_left):
    path = model / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[:bytes_left])
    started = time.monotonic()
    with pytest.raises(BadInput) as error:
        Checkpoint(model)
    assert time.monotonic() - started < 1
    message = str(error.value)
    assert str(path) in message
    assert f"holds {len(content[:bytes_left])} bytes" in message
    assert "copy or prepare it again" in message
    if bytes_left < 0:
        assert f"promises {len(content)}" in message


def test_a_file_that_is_too_long_is_refused_too(model):
    with (model / WEIGHTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(BadInput, match="promises"):
        Checkpoint(model)


@pytest.mark.parametrize(
    "content",
    [b"not a model at all", b"\x02\0\0\0\0\0\0\0[]", b'\x0b\0\0\0\0\0\0\0{"a": "b"} '],
)
def test_other_files_under_that_name_are_refused(model, content):
    (model / WEIGHTS).write_bytes(content)
    with pytest.raises(BadInput, match=WEIGHTS):
        Checkpoint(model)


def test_a_header_that_misplaces_a_tensor_is_refused(model):
    path = model / WEIGHTS
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    first, second = [name for name in header if name != "__metadata__"][:2]
    header[first]["data_offsets"], header[second]["data_offsets"] = (
        header[second]["data_offsets"],
        header[first]["data_offsets"],
    )
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(BadInput, match="a wrong place for tensor"):
        Checkpoint(model)


def test_a_missing_tensor_is_named(model):
    weights = load_file(model / WEIGHTS)
    del weights["model.layers.3.mlp.down_proj.weight"]
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"model.layers.3.mlp.down_proj.weight is missing"):
        Checkpoint(model)


def test_quantised_weights_are_refused(model):
    weights = load_file(model / WEIGHTS)
    weights["model.norm.weight"] = weights["model.norm.weight"].char()
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"number format I8.*unquantised"):
        Checkpoint(model)


def test_a_missing_shard_folder_config_or_weights(model, tmp_path):
    with pytest.raises(BadInput, match=r"nowhere/config.json: no such file"):
        Checkpoint(tmp_path / "nowhere")
    (model / WEIGHTS).unlink()
    with pytest.raises(BadInput, match="holds neither"):
        Checkpoint(model)
    (model / INDEX).write_text(json.dumps({"weight_map": {"x": "model-1-of-2.safetensors"}}))
    with pytest.raises(BadInput, match=r"model-1-of-2.safetensors: no such file"):
        Checkpoint(model)
    (model / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"config.json: is not JSON"):
        Checkpoint(model)


def test_operators_of_another_model_name_both(model, operators, tmp_path):
    weights = load_file(model / WEIGHTS)
    weights["model.norm.weight"] += 1
    before = Checkpoint(model).digest()
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BadInput) as error:
        fuse(model, operators, tmp_path / "out")
    for part in (
        str(operators),
        str(model),
        before,
        Checkpoint(model).digest(),
        "build them again",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_model_is_named_where_writing_failed(model, operators, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise WorkFailed("a fused weight is not finite")

    monkeypatch.setattr("lemon.operators.fuse.write_checkpoint", fail)
    with pytest.raises(WorkFailed, match="not finite"):
        fuse(model, operators, tmp_path / "out")
    weights = load_file(model / WEIGHTS)
    weights["model.norm.weight"] += 1
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BadInput, match="made for a source model with digest"):
        fuse(model, operators, tmp_path / "out")


def test_operators_of_a_model_of_other_sizes(operators, tiny_untied_model_folder, tmp_path):
    with pytest.raises(BadInput, match=r"operators.safetensors: made for .* of other sizes"):
        fuse(tiny_untied_model_folder, operators, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_truncated_or_missing_operators(model, operators, tmp_path):
    operators.write_bytes(operators.read_bytes()[:-7])
    with pytest.raises(BadInput, match=r"operators.safetensors: holds .* promises"):
        fuse(model, operators, tmp_path / "out")
    with pytest.raises(BadInput, match="no such file"):
        read_metadata(tmp_path / "none.safetensors")


def test_an_output_under_a_file_is_refused(model, operators, tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(BadInput, match="a file stands where a folder is needed"):
            fuse(model, operators, out)
    assert (tmp_path / "file").read_text() == "x"


def test_no_permission_to_write(model, operators, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BadInput, match=r"out: no permission to write here; choose another place"):
        fuse(model, operators, tmp_path / "out")


def test_a_full_disk_leaves_nothing_and_keeps_the_earlier_model(
    model, operators, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    fuse(model, operators, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    chunks = tensor_file._rounded_chunks

    def run_out(name, *arguments):
        if name.startswith("model.layers.1."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield from chunks(name, *arguments)

    monkeypatch.setattr(tensor_file, "_rounded_chunks", run_out)
    with pytest.raises(WorkFailed, match=r"out.*: the disk is full; free some space"):
        fuse(model, operators, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(WorkFailed, match="the disk is full"):
        fuse(model, operators, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()
    assert not leftovers(tmp_path)


def test_a_killed_rename_keeps_the_operators_file(operators, model, monkeypatch):
    before = operators.read_bytes()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(storage.os, "replace", refuse)
    source = Checkpoint(model)
    new = random_operators(source.shape, source.shape.with_depth(3))
    with pytest.raises(BadInput, match="no permission"):
        save_operators(operators, new, source_digest="x", method="cut")
    assert operators.read_bytes() == before
    assert not leftovers(operators.parent)
