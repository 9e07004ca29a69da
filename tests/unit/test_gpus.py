"""Leases of GPUs, of processes that live, wait and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lemon import gpus
from lemon.cli import main
from lemon.errors import BadInput

EIGHT = [str(gpu) for gpu in range(8)]
PATIENCE_S = 60
# Takes its GPUs, says which, and lives until its input ends.
HOLDER = """
import sys
from pathlib import Path
from lemon.gpus import take
folder, count, *gpus = sys.argv[1:]
print(" ".join(take(Path(folder), gpus, int(count))), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that leases GPUs."""

    def __init__(self, folder: Path, count: int, gpus: list[str]) -> None:
        command = [sys.executable, "-c", HOLDER, str(folder), str(count), *gpus]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = b""

    def got(self) -> list[str]:
        """The GPUs that it has; none while it waits."""
        assert self.process.stdout is not None
        self.said += self.process.stdout.read() or b""
        return self.said.decode().split() if self.said.endswith(b"\n") else []

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    held = []

    def started(count: int, gpus: list[str] = EIGHT) -> Holder:
        held.append(Holder(tmp_path / "leases", count, gpus))
        return held[-1]

    yield started
    for holder in held:
        holder.kill()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def test_eight_jobs_have_eight_gpus_and_a_killed_one_frees_its_own(
    start: Callable[..., Holder],
) -> None:
    holders = [start(1) for _ in EIGHT]
    until(lambda: all(holder.got() for holder in holders))
    assert sorted(gpu for holder in holders for gpu in holder.got()) == EIGHT
    ninth = start(1)
    time.sleep(1)
    assert not ninth.got()
    freed = holders[3].got()
    os.kill(holders[3].process.pid, signal.SIGKILL)
    until(ninth.got)
    assert ninth.got() == freed


@pytest.mark.slow
def test_a_distributed_job_collects_its_number_and_is_not_passed(
    start: Callable[..., Holder],
) -> None:
    """Two that want three of four each, and one that wants one: all get theirs in the end."""
    four = EIGHT[:4]
    first = start(3, four)
    until(first.got)
    second = start(3, four)
    time.sleep(1)
    third = start(1, four)  # the GPU that is left is the second's
    time.sleep(1)
    assert not second.got() and not third.got()
    first.kill()
    until(lambda: second.got() and third.got())
    assert len(second.got()) == 3
    assert sorted(second.got() + third.got()) == four


def test_two_distributed_jobs_do_not_wait_for_each_other(start: Callable[..., Holder]) -> None:
    both = [start(8), start(8)]
    until(lambda: any(holder.got() for holder in both))
    first, second = sorted(both, key=lambda holder: not holder.got())
    assert first.got() == EIGHT and not second.got()
    first.kill()
    until(second.got)
    assert second.got() == EIGHT


def test_a_killed_job_that_waits_keeps_nothing(start: Callable[..., Holder]) -> None:
    holder = start(1, EIGHT[:2])
    until(holder.got)
    waiting = start(2, EIGHT[:2])
    time.sleep(1)
    waiting.kill()
    other = start(1, EIGHT[:2])
    until(other.got)
    assert sorted(holder.got() + other.got()) == EIGHT[:2]


def test_the_processes_of_a_job_hold_its_lease_too(
    start: Callable[..., Holder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If torchrun is killed, its processes go on for a while, on their GPUs."""
    holder = start(1, ["0"])
    until(holder.got)
    monkeypatch.setenv(gpus.VISIBLE, "0")
    monkeypatch.setenv(gpus.LEASES, str(tmp_path / "leases"))
    shared = os.dup(1)  # the next descriptor is that of the lock
    os.close(shared)
    gpus.lease_gpus(1)
    holder.kill()
    waiting = start(1, ["0"])
    time.sleep(1)
    assert not waiting.got()
    os.close(shared)
    until(waiting.got)


def test_a_command_is_started_with_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lemon lease` becomes the command, so that the lease ends with it."""
    became: list[list[str]] = []
    monkeypatch.setattr(gpus, "gpus_here", lambda: EIGHT)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setenv(gpus.LEASES, "")
    monkeypatch.setattr(os, "execvp", lambda _, command: became.append(command))
    assert main(["lease", "--gpus", "2", "--", "python", "-c", "--gpus"]) == 0
    assert became == [["python", "-c", "--gpus"]]
    assert os.environ[gpus.VISIBLE] == "0,1"
    monkeypatch.delenv(gpus.VISIBLE)


def test_what_a_scheduler_gave_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "5")
    monkeypatch.delenv(gpus.LEASES, raising=False)
    gpus.lease_gpus(1)
    assert os.environ[gpus.VISIBLE] == "5"
    assert gpus.gpus_here() == ["5"]
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert gpus.gpus_here() == []


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "gpus_here", lambda: ["0"])
    with pytest.raises(BadInput, match="2 GPUs are asked for, and this machine has 1"):
        gpus.lease_gpus(2)
