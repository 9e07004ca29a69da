"""Checkpoints of a training run: written atomically, tied to the run's settings; two are kept.

The name of a checkpoint ends with the first digits of its sha256, as in
`step-00000040-1f0c0e1b5a9d2c34.pt`. A damaged one is detected before it is opened, and the previous
one is used.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import IO, Any, cast

import torch

from lemon.files.storage import atomic_file, storage_error
from lemon.provenance import file_digest

KEPT = 2
NAME = re.compile(r"step-(?P<step>[0-9]{8})(?:-(?P<digest>[0-9a-f]{16}))?\.pt")


class TrainingCheckpoints:
    """The folder `checkpoints/` of a run.

    A checkpoint stores the key of the run's settings. A run never continues from a checkpoint of
    other settings, and removes those when it writes its first one.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """`folder` is created with the first checkpoint; `key` is the run's canonical settings."""
        self._folder = folder
        self._key = key
        self._own: list[Path] = []  # oldest first

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then remove all but this and the previous one.

        Raises:
            BadInput, WorkFailed: the folder can't be written, or the disk is full; the earlier
                checkpoints stay.
        """
        path = self._folder / f"step-{step:08d}"
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            written = _HashingFile(file)
            try:
                torch.save({"key": self._key, "step": step, **state}, cast(IO[bytes], written))
            except RuntimeError:  # torch raises it for any failed write
                if written.failure is None:
                    raise
                raise storage_error(written.failure, path) from written.failure
        # Readers ignore the file until this rename.
        named = path.rename(f"{path}-{written.sha256.hexdigest()[:16]}.pt")
        self._own = [*(old for old in self._own if old != named), named][-KEPT:]
        for other in self._folder.glob("step-*"):
            if other not in self._own:
                other.unlink()
        return named

    def newest(self) -> dict[str, Any] | None:
        """The newest undamaged state of these settings, or None; removes damaged ones.

        Its tensors are read from the file where they are used: several processes that take their
        shares need no copy each.
        """
        for path in self._newest_first():
            state = _read(path)
            if isinstance(state, str):
                print(f"{path}: {state}, removed", file=sys.stderr)
                path.unlink()
            elif state["key"] == self._key:
                self._own = [path]
                return state
        return None

    def newest_path(self) -> Path | None:
        """The path of the newest checkpoint, undamaged or not; None without one."""
        return next(iter(self._newest_first()), None)

    def _newest_first(self) -> list[Path]:
        found = [path for path in self._folder.glob("step-*.pt") if NAME.fullmatch(path.name)]
        # Names without a digest are from an earlier version; they come last.
        return sorted(found, key=lambda path: ("-" in path.stem[5:], path.name[:13]), reverse=True)


class _HashingFile:
    """Hashes what torch writes to a file, and stores the error of a failed write."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _read(path: Path) -> dict[str, Any] | str:
    """The state in a checkpoint, or a description of its damage."""
    name = NAME.fullmatch(path.name)
    digest = name["digest"] if name else None
    if digest is not None and not file_digest(path).startswith(digest):
        return "damaged (its sha256 is not the one in its name)"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the type differs with the damage
        return f"damaged ({type(error).__name__})"
    if not (isinstance(state, dict) and {"key", "step"} <= state.keys()):
        return "not a checkpoint of this program"
    return state
