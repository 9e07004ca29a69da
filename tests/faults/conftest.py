"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from command_world import CommandWorld, write_command_world
from hub_world import add_declared, add_model, add_scripted
from learning_world import LearningWorld
from loopback_hub import Hub, serving


@pytest.fixture
def without_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without a database, and no tracker elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def world(learning_world: LearningWorld, tmp_path_factory: pytest.TempPathFactory) -> CommandWorld:
    """What every command of the smoke preset reads; nothing may change it."""
    return write_command_world(tmp_path_factory.mktemp("world"), learning_world)


@pytest.fixture
def place(tmp_path) -> tuple[Path, Path]:
    """Where the lock file and the cache go."""
    return tmp_path / "out" / "assets.lock.json", tmp_path / "cache"


class NoWait:
    """Stands for the module `time`: waits are noted, not waited."""

    waits: ClassVar[list[float]] = []

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.waits.append(seconds)

    @staticmethod
    def time() -> float:
        return 0.0


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were to be waited between tries."""
    return NoWait.waits


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A small hub with two data sets and a model; nobody waits between tries."""
    with serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        # A command that ran in this process before may have switched the Hub off for it.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        NoWait.waits.clear()
        for module in ("lemon.data.fetch.hub_retry", "huggingface_hub.utils._http"):
            monkeypatch.setattr(f"{module}.time", NoWait)
        monkeypatch.setattr("huggingface_hub.file_download.time", NoWait)
        add_declared(served, "sciq")
        add_scripted(served, "logiqa")
        add_model(served)
        yield served
