"""Output of a long job: regular progress lines, and stack traces if it hangs."""

from __future__ import annotations

import faulthandler
import sys
import time

from lemon.provenance import peak_memory_bytes

LINE_EVERY_S = 30.0
HANG_AFTER_S = 900.0
STDERR = 2  # the file descriptor; sys.stderr may be an object that has none


def say(line: str) -> None:
    """Print a line to standard error; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


class ProgressLine:
    """A line every 30 seconds with the work done, the time left and the peak memory."""

    def __init__(self, label: str, unit: str, total: int, done: int = 0) -> None:
        """Start the clock.

        A line reads "`label`: `unit` 3/`total`, ...". The units `done` by an earlier process do not
        count for the speed.
        """
        self._label, self._unit, self._total, self._first = label, unit, total, done
        self._started = self._printed = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    def show(self, done: int, *facts: str, always: bool = False) -> None:
        """Print a line if `always`, or if 30 seconds have passed since the last one.

        `done` includes the units of an earlier process; `facts` are shown behind, as "loss 2.345".
        """
        now = time.monotonic()
        if done <= self._first or (not always and now - self._printed < LINE_EVERY_S):
            return
        self._printed = now
        left = round(self.seconds / (done - self._first) * (self._total - done))
        count = f"{self._label}: {self._unit} {done}/{self._total}"
        memory = f"peak memory {peak_memory_bytes() / 2**30:.1f} GiB"
        say(", ".join([count, *facts, f"{left // 60}:{left % 60:02d} left", memory]))


class Watchdog:
    """Prints the stack of every thread when no step ends for 15 minutes."""

    def __enter__(self) -> Watchdog:
        self.step_ended()
        return self

    def step_ended(self) -> None:
        """Restart the 15 minutes."""
        faulthandler.dump_traceback_later(HANG_AFTER_S, repeat=True, file=STDERR)

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
