"""What a long run tells: an event a line in a file, a line on the screen, stacks when it hangs."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from pathlib import Path

from lemon.files.storage import storage_error, write_text
from lemon.provenance import peak_memory_bytes

LINE_EVERY_S = 30.0
HANG_AFTER_S = 900.0
STDERR = 2  # its number, since sys.stderr may be a stand-in without one


class Metrics:
    """`metrics.jsonl`: one event a line, `step, tokens, wall_s, name, value`.

    A checkpoint carries `text`, so that a run that goes on has every event of the steps before
    once, whatever became of the file.
    """

    def __init__(self, path: Path, text: str = "") -> None:
        """Write the file anew.

        Args:
            path: of the file.
            text: the events of earlier steps.

        Raises:
            BadInput, WorkFailed: the file can't be written.
        """
        self._lines = [text]
        self._path = path
        write_text(path, text)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    @property
    def text(self) -> str:
        """What the file holds."""
        return "".join(self._lines)

    def write(self, step: int, tokens: int, wall_s: float, values: dict[str, float]) -> None:
        """Append one event for each name in `values`, measured after `step` steps.

        Raises:
            WorkFailed: the disk is full.
        """
        lines = ""
        for name, value in values.items():
            event = {"step": step, "tokens": tokens, "wall_s": round(wall_s, 3), "name": name}
            lines += json.dumps({**event, "value": value}) + "\n"
        self._lines.append(lines)
        try:
            self._file.write(lines)
        except OSError as error:
            raise storage_error(error, self._path) from error

    def close(self) -> None:
        """Close the file, once its lines are on the disk.

        Raises:
            WorkFailed: the disk is full.
        """
        try:
            with self._file:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error, self._path) from error


class ProgressLine:
    """A line every half minute with step, loss, tokens/s, time left and memory."""

    def __init__(self, label: str, *, first_step: int, steps: int, tokens_per_step: int) -> None:
        """Args:
        label: of the run, at the head of the line.
        first_step: steps already done, by an earlier process.
        steps: of the whole run.
        tokens_per_step: predicted tokens of a step.
        """
        self._label = label
        self._first = first_step
        self._steps = steps
        self._tokens_per_step = tokens_per_step
        self._started = time.monotonic()
        self._printed = self._started - LINE_EVERY_S

    def show(self, done: int, loss: float) -> None:
        """Print a line if it is time, after `done` steps of the run."""
        now = time.monotonic()
        if now - self._printed < LINE_EVERY_S and done < self._steps:
            return
        self._printed = now
        seconds = (now - self._started) / max(1, done - self._first)
        left = round(seconds * (self._steps - done))
        print(
            f"{self._label}: step {done}/{self._steps}, loss {loss:.3f}, "
            f"{self._tokens_per_step / seconds:.0f} tokens/s, "
            f"{left // 60}:{left % 60:02d} left, peak memory {peak_memory_bytes() / 2**30:.1f} GiB",
            file=sys.stderr,
            flush=True,
        )


class Watchdog:
    """Dumps every thread's stack when no step ends for a quarter of an hour."""

    def __enter__(self) -> Watchdog:
        self.step_ended()
        return self

    def step_ended(self) -> None:
        """Start counting anew."""
        faulthandler.dump_traceback_later(HANG_AFTER_S, repeat=True, file=STDERR)

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
