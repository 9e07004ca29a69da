"""Checkpoints of a learning run: written whole, kept two deep, tied to the run's settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from lemon.storage import atomic_file

KEPT = 2


class Checkpoints:
    """The folder `checkpoints/` of a run.

    A checkpoint carries the key of the settings that made it. One of other settings is never
    continued from, and is removed when the first new one is written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Args:
        folder: made when the first checkpoint is written.
        key: canonical settings of the run.
        """
        self._folder = folder
        self._key = key

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then drop all but the newest two.

        Raises:
            BadInput, WorkFailed: the folder may not be written, or the disk is full; the earlier
                checkpoints stay.
        """
        path = self._folder / f"step-{step:08d}.pt"
        with atomic_file(path) as temporary:
            torch.save({"key": self._key, "step": step, **state}, temporary)
        for old in self._newest_first()[KEPT:]:
            old.unlink()
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest readable state of these settings; None where there is none."""
        for path in self._newest_first():
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises a different type for each kind of damage
                print(f"{path}: damaged ({type(error).__name__}), removed", file=sys.stderr)
                path.unlink()
                continue
            if state["key"] == self._key:
                return state
            path.unlink()
        return None

    def newest_path(self) -> Path | None:
        """Where the newest checkpoint lies."""
        return next(iter(self._newest_first()), None)

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"), reverse=True)
