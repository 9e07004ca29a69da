"""What an evaluation tells while it runs: a line when a part is done, and one every half minute."""

from __future__ import annotations

import sys
import time

from lemon.provenance import peak_memory_bytes

LINE_EVERY_S = 30.0


def say(line: str) -> None:
    """Print a line for the user; standard output stays free."""
    print(line, file=sys.stderr, flush=True)


class ProgressLine:
    """A line every half minute with what is done, the time left and the memory."""

    def __init__(self, label: str, unit: str, total: int, done: int = 0) -> None:
        """Start the clock.

        Args:
            label: head of the line.
            unit: what is counted, e.g. "document".
            total: units of the whole work.
            done: units that an earlier process did.
        """
        self._label, self._unit, self._total, self._first = label, unit, total, done
        self._started = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    def show(self, done: int) -> None:
        """Print a line if it is time, after `done` units."""
        if time.monotonic() - self._said < LINE_EVERY_S or done <= self._first:
            return
        self._said = time.monotonic()
        left = round(self.seconds / (done - self._first) * (self._total - done))
        say(
            f"{self._label}: {self._unit} {done}/{self._total}, {left // 60}:{left % 60:02d} left, "
            f"peak memory {peak_memory_bytes() / 2**30:.1f} GiB"
        )
