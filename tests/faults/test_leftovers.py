"""What killed processes left is swept by the next one that writes there; what is in use is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_world import REPLACING, CommandWorld, tree
from killed import die, killed

from lemon.data.mirror.make import make_mirror
from lemon.errors import BadInput
from lemon.evaluation.tasks import SCRATCH
from lemon.files import storage
from lemon.files.storage import atomic_file, atomic_folder, write_text
from lemon.training.checkpoints import TrainingCheckpoints


def begin_file(path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        die()


def begin_folder(path: Path) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "half").write_text("half")
        die()


def write_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text(text)


def finish_without_sweep(path: Path) -> None:
    """Killed behind both renames, where the old content is to be removed."""
    remove = shutil.rmtree
    storage.shutil.rmtree = lambda path, **named: (
        die() if path.name.endswith(".partial") else remove(path, **named)
    )
    write_folder(path, "new")


def test_a_killed_file_is_swept_and_the_old_one_kept_until_then(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    for _ in range(3):
        killed(lambda: begin_file(path))
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # each one swept what the one before had left
    write_text(path, "new")
    assert tree(tmp_path) == {"a.json": b"new"}


def test_a_file_of_an_earlier_version_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.json.4711.partial").write_text("half")
    write_text(tmp_path / "a.json", "new")
    assert tree(tmp_path) == {"a.json": b"new"}


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    names = (".b.json.0123abcd.partial", ".a.json.partial", "a.json.0123abcd.partial", ".a.json")
    for name in names:
        (tmp_path / name).write_text("x")
    write_text(tmp_path / "a.json", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", *names}
    for name in ("[a].json", "a*", "?"):
        killed(lambda name=name: begin_file(tmp_path / name))
        write_text(tmp_path / name, "new")
        assert {path.name for path in tmp_path.iterdir()} == {"a.json", *names, name}
        (tmp_path / name).unlink()


def test_a_file_that_another_writer_is_at_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with atomic_file(path) as slow:
        slow.write_text("slow")
        write_text(path, "fast")
        assert slow.exists()
        assert path.read_text() == "fast"
    assert tree(tmp_path) == {"a.json": b"slow"}


@pytest.mark.parametrize("name", ["n" * 255, "雪" * 85])
def test_a_name_as_long_as_the_system_takes(name: str, tmp_path: Path) -> None:
    """Names that differ at their end alone have different temporary files and folders."""
    other = name[:-1] + "m"
    for write in (write_text, write_folder):
        begin = begin_file if write is write_text else begin_folder
        killed(lambda begin=begin: begin(tmp_path / name))
        write(tmp_path / other, "x")
        assert len(list(tmp_path.iterdir())) == 2
        write(tmp_path / name, "x")
        assert {path.name for path in tmp_path.iterdir()} == {name, other}
        for path in (tmp_path / name, tmp_path / other):
            path.unlink() if path.is_file() else shutil.rmtree(path)


def test_a_killed_folder_is_swept_and_the_old_one_kept_until_then(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "old")
    for _ in range(2):
        killed(lambda: begin_folder(tmp_path / "out"))
    assert tree(tmp_path / "out") == {"a": b"old"}
    write_folder(tmp_path / "out", "new")
    assert tree(tmp_path) == {"out": "a folder", "out/a": b"new"}


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_kill_at_either_rename_loses_nothing(
    dies_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content is there, or set aside; the next call brings it back before it begins."""
    write_folder(tmp_path / "out", "old")
    replace, calls = os.replace, 0

    def replace_or_die(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == dies_at:
            die()
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", replace_or_die)
        killed(lambda: write_folder(tmp_path / "out", "new"))
    assert (tmp_path / "out").exists() == (dies_at == 1)
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out"):
        raise ZeroDivisionError
    assert tree(tmp_path) == {"out": "a folder", "out/a": b"old"}


def test_a_kill_behind_both_renames_leaves_the_new_content(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "old")
    killed(lambda: finish_without_sweep(tmp_path / "out"))
    assert tree(tmp_path / "out") == {"a": b"new"}
    assert (tmp_path / ".out.partial" / "replaced" / "a").read_text() == "old"
    write_folder(tmp_path / "out", "newer")
    assert tree(tmp_path) == {"out": "a folder", "out/a": b"newer"}


def test_a_folder_that_another_writer_is_at_is_left_to_it(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as slow:
        (slow / "a").write_text("slow")
        with pytest.raises(BadInput, match="out: another process writes here"):
            write_folder(tmp_path / "out", "fast")
        assert (slow / "a").exists()
    assert tree(tmp_path) == {"out": "a folder", "out/a": b"slow"}


def test_a_checkpoint_that_was_cut_short_is_swept(tmp_path: Path) -> None:
    store = TrainingCheckpoints(tmp_path, key="k")
    killed(lambda: begin_file(tmp_path / "step-00000004.pt"))
    state = store.save(4, {})
    assert list(tmp_path.iterdir()) == [state]


@pytest.mark.parametrize("command", REPLACING)
def test_a_command_sweeps_what_a_killed_one_left_beside_its_folder(
    command: str, world: CommandWorld, tmp_path: Path
) -> None:
    for name in ("content/train/prose.bin", ".content.gguf-x/tiny.gguf"):
        path = tmp_path / ".out.partial" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert world.lemon(command, tmp_path / "out") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_evaluation_sweeps_the_temporary_folders_of_killed_ones(
    world: CommandWorld, tmp_path: Path
) -> None:
    assert world.lemon("evaluate", tmp_path / "out") == 0
    for name in ("a", "b"):
        left = tmp_path / "out" / f"{SCRATCH}{name}" / "cache"
        left.mkdir(parents=True)
        (left / "rows.arrow").write_text("half")
    assert world.lemon("evaluate", tmp_path / "out") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"piqa.parquet", "manifest.json", ".in-use"}


def test_a_mirror_sweeps_what_a_killed_call_left(tmp_path: Path) -> None:
    for name in (".mirror.json.1.partial", ".mirror-unfinished.json.0a.partial"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".mirror-unfinished.json").write_text(
        '{"format": 1, "rows": {}, "assets": {}, "commits": {}}'
    )
    make_mirror({}, [], [], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mirror.json", ".in-use"}
