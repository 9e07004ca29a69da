"""A disk that fills up: one message, the last state is kept, and the same command then ends."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from command_world import COMMANDS, CommandWorld, tree
from learning_world import LearningWorld

from lemon.errors import WorkFailed
from lemon.evaluation.outcomes import Outcome, UnfinishedOutcomes, write_outcomes
from lemon.events import Metrics, read_events
from lemon.files.storage import LOCK, atomic_file, atomic_folder
from lemon.learning.run import learn
from lemon.training.checkpoints import TrainingCheckpoints

RUN = "lemon-cut-75"
FULL = "the disk is full; free some space and run the same command again"
TIMED = ("manifest.json", "metrics.jsonl", LOCK)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let files grow to so many bytes and no further: the kernel refuses, whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def results(folder: Path) -> dict[str, bytes | str]:
    return {name: said for name, said in tree(folder).items() if not name.endswith(TIMED)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_and_ends_when_there_is_room(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    assert world.lemon(command, whole) == 0
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    for number, room in enumerate((0, 20, largest // 2)):
        out = tmp_path / str(number)
        capsys.readouterr()
        with room_for(room):
            code = world.lemon(command, out)
        told = capsys.readouterr().err
        assert (code, told.count("lemon: error:")) == (1, 1), f"room for {room}: {told}"
        assert str(tmp_path) in told
        assert not (out / "manifest.json").exists()
        assert not [path for path in tmp_path.rglob("*.partial") if path.name != LOCK]
        assert world.lemon(command, out) == 0
        assert results(out) == results(whole)


@pytest.mark.parametrize(
    "command", ["prepare source", "prepare text", "prepare tasks", "fuse", "build", "evaluate"]
)
def test_what_was_there_before_is_kept(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`capsys` keeps what is said in memory, where there is room for it."""
    assert world.lemon(command, tmp_path / "out") == 0
    before = results(tmp_path)
    with room_for(100):
        assert world.lemon(command, tmp_path / "out") == 1
    assert results(tmp_path) == before


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            full()
        return int(self._file.write(data))


@pytest.fixture
def fills_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Lets the disk be full after so many bytes of any file with a certain name."""
    opened = Path.open

    def arrange(part: str, room: int) -> None:
        def fill(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
            file = opened(self, mode, *rest, **named)
            return FullFile(file, room) if part in self.name and "r" not in mode else file

        monkeypatch.setattr(Path, "open", fill)

    return arrange


@pytest.mark.parametrize("room", [0, 1, 500, 20_000])
def test_a_checkpoint(
    room: int, tmp_path: Path, fills_up: Callable[[str, int], None], monkeypatch: Any
) -> None:
    """torch makes a RuntimeError of its own of a write that fails."""
    store = TrainingCheckpoints(tmp_path, key="k")
    state = {"parameters": torch.arange(10_000.0)}
    first = store.save(1, state)
    with monkeypatch.context():
        fills_up("step-", room)
        with pytest.raises(WorkFailed, match=f"step-00000002.*: {FULL}"):
            store.save(2, state)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [first]
    kept = store.newest()
    assert kept is not None and kept["step"] == 1


def test_an_error_of_torch_that_is_no_failed_write_stays_one(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle") as error:
        TrainingCheckpoints(tmp_path, key="k").save(1, {"parameters": lambda: None})
    assert not isinstance(error.value, WorkFailed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "room"), [("step-", 5000), ("metrics.jsonl", 700), ("operators", 10), ("config", 10)]
)
def test_learning_goes_on_from_its_last_checkpoint(
    part: str,
    room: int,
    learning_world: LearningWorld,
    tmp_path: Path,
    fills_up: Callable[[str, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = learning_world.project(steps=6, checkpoint_every=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn(project, RUN, learning_world.source, learning_world.text, whole)
    fills_up(part, room)
    with pytest.raises(WorkFailed, match=f"{part}.*: {FULL}"):
        learn(project, RUN, learning_world.source, learning_world.text, cut)
    monkeypatch.undo()
    assert not (cut / "manifest.json").exists()
    learn(project, RUN, learning_world.source, learning_world.text, cut)
    assert results(cut) == results(whole)
    found, expected = (read_events(folder / "metrics.jsonl") for folder in (cut, whole))
    assert [(e["step"], e["name"]) for e in found] == [(e["step"], e["name"]) for e in expected]


def test_metrics_that_do_not_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say that they are full when a file is brought to the disk."""
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write(1, 8, 0.5, {"train/loss": 1.0})
    monkeypatch.setattr("lemon.events.os.fsync", full)
    with pytest.raises(WorkFailed, match=f"metrics.jsonl: {FULL}"):
        metrics.close()


def test_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fills_up: Any) -> None:
    sealed, key = tmp_path / "sciq.parquet", {"weights": "abc"}
    rows = [Outcome(n, 1, True, True, None, [-0.1 * n], [3], 0) for n in range(6)]
    unfinished = UnfinishedOutcomes(sealed, key)
    unfinished.append(rows[:3])
    fills_up("sciq", 50)
    with pytest.raises(WorkFailed, match=f"sciq.*: {FULL}"):
        unfinished.append(rows[3:])
    monkeypatch.undo()
    assert UnfinishedOutcomes(sealed, key).outcomes == dict(enumerate(rows[:3]))
    monkeypatch.setattr("lemon.evaluation.outcomes.pq.write_table", full)
    with pytest.raises(WorkFailed, match=f"sciq.parquet: {FULL}"):
        write_outcomes(sealed, rows, key)
    assert not sealed.exists()


def test_rows_of_an_evaluation(
    world: CommandWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The rows are sound, so that nobody is told to prepare them again."""
    from lm_eval.tasks import TaskManager

    with monkeypatch.context() as patch:
        patch.setattr(TaskManager, "load", full)
        assert world.lemon("evaluate", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert FULL in told and "prepare" not in told
    assert world.lemon("evaluate", tmp_path / "out") == 0


def test_an_evaluation_does_without_the_systems_temporary_folder(
    world: CommandWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", full)
    monkeypatch.setattr("tempfile.gettempdirb", full)
    assert world.lemon("evaluate", tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob(".lemon-tasks-*"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("Disk quota exceeded (os error 122)"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_library_that_tells_the_refusal_in_words(error: Exception, tmp_path: Path) -> None:
    for hold in (atomic_file, atomic_folder):
        with pytest.raises(WorkFailed, match=f"out: {FULL}"), hold(tmp_path / "out"):
            raise error
        assert list(tmp_path.iterdir()) == []


def test_the_owner_of_a_run_is_kept(
    world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without a manifest says by its lock alone whose it is."""
    out = tmp_path / "out"
    with room_for(5_000):
        assert world.lemon("learn", out) == 1
    lock = (out / LOCK).read_bytes()
    with room_for(0):
        assert world.lemon("learn", out) == 1
    assert (out / LOCK).read_bytes() == lock
    capsys.readouterr()
    assert world.lemon("build", out) == 2
    assert "holds the run lemon-cut-75 of preset smoke" in capsys.readouterr().err
    assert world.lemon("learn", out) == 0
