"""What a similarity map tells while it is computed: its plan, a line now and then, its speed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from lemon.provenance import peak_memory_bytes
from lemon.similarity.gram_plan import ALLOWANCE_BYTES, GramPlan

LINE_EVERY_S = 10.0


def say(line: str) -> None:
    """Print a line for the user; standard output stays free."""
    print(line, file=sys.stderr, flush=True)


def memory_bound(plans: Sequence[GramPlan]) -> int:
    """Resident bytes that this process will not pass while it carries out the plans in turn."""
    import torch  # noqa: F401 - so that what the interpreter holds with torch is counted

    return peak_memory_bytes() + max(plan.held_bytes for plan in plans) + ALLOWANCE_BYTES


class Progress:
    """The lines of one map."""

    def __init__(self, label: str, plans: Sequence[GramPlan]) -> None:
        """Say what will be done, and start the clock.

        Args:
            label: head of every line.
            plans: of the layer types, which come in turn.
        """
        self._label = label
        self._layers = sum(plan.num_layers * len(plan.slabs) for plan in plans)
        self._flop = sum(plan.flop for plan in plans)
        self._layers_done = self._flop_done = 0
        passes = [len(plan.slabs) for plan in plans]
        read = sum(plan.stored_bytes * len(plan.slabs) for plan in plans)
        types = ", ".join(plan.type for plan in plans)
        say(
            f"{label}: {plans[0].num_layers} layers x {_count(len(plans), 'type')} ({types}), "
            f"{_giga(self._flop)} GFLOP, {_count(max(passes), 'pass')} over the weights "
            f"({read / 1e9:.2f} GB to read), at most {memory_bound(plans) / 1e6:.0f} MB of memory"
        )
        self._started = self._said = time.monotonic()

    def layer_done(self, flop: int) -> None:
        """Count one layer of one pass, and print a line if it is time."""
        self._layers_done += 1
        self._flop_done += flop
        now = time.monotonic()
        if now - self._said < LINE_EVERY_S or self._layers_done == self._layers:
            return
        self._said = now
        seconds = now - self._started
        left = round(seconds * (self._flop / self._flop_done - 1))
        say(
            f"{self._label}: layer {self._layers_done}/{self._layers} (all passes), "
            f"{_giga(self._flop_done / seconds)} GFLOP/s, {left // 60}:{left % 60:02d} left"
        )

    def finished(self) -> None:
        """Print time and speed of the whole."""
        seconds = time.monotonic() - self._started
        say(
            f"{self._label}: {seconds:.1f} s, {_giga(self._flop / seconds)} GFLOP/s, "
            f"peak memory {peak_memory_bytes() / 1e6:.0f} MB"
        )


def _count(number: int, noun: str) -> str:
    """A number with its noun: 1 pass, 2 passes."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def _giga(number: float) -> str:
    """In units of 1e9, to about three digits: 0.123, 12.3, 2,349."""
    value = number / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
