"""What a similarity map tells while it is computed: its plan, a line now and then, its speed."""

from __future__ import annotations

from collections.abc import Sequence

from lemon.progress import ProgressLine, say
from lemon.provenance import peak_memory_bytes
from lemon.similarity.gram_plan import ALLOWANCE_BYTES, GramPlan

MEGA = 10**6


def memory_bound(plans: Sequence[GramPlan]) -> int:
    """Resident bytes that this process will not pass while it carries out the plans in turn."""
    import torch  # noqa: F401 - so that what the interpreter holds with torch is counted

    return peak_memory_bytes() + max(plan.held_bytes for plan in plans) + ALLOWANCE_BYTES


class MapProgress:
    """The lines of one map: the plan of its layer types, which come in turn, and what is done."""

    def __init__(self, label: str, plans: Sequence[GramPlan]) -> None:
        """Print the plan, and start the clock; `label` is the head of every line."""
        self._label = label
        self._flop, self._done = sum(plan.flop for plan in plans), 0
        passes = max(len(plan.slabs) for plan in plans)
        read = sum(plan.stored_bytes * len(plan.slabs) for plan in plans)
        types = ", ".join(plan.type for plan in plans)
        say(
            f"{label}: {plans[0].num_layers} layers of {types}, {_giga(self._flop)} GFLOP, weights "
            f"read in {passes} {'passes' if passes > 1 else 'pass'} ({_giga(read)} GB), at most "
            f"{memory_bound(plans) / MEGA:.0f} MB of memory"
        )
        self._line = ProgressLine(label, "MFLOP", self._flop // MEGA)

    def layer_done(self, flop: int) -> None:
        """Count one layer of one pass, and print a line if it is time."""
        self._done += flop
        self._line.show(self._done // MEGA, f"{_giga(self._done / self._line.seconds)} GFLOP/s")

    def finished(self) -> None:
        """Print time and speed of the whole."""
        seconds = self._line.seconds
        say(
            f"{self._label}: {seconds:.1f} s, {_giga(self._flop / seconds)} GFLOP/s, "
            f"peak memory {peak_memory_bytes() / MEGA:.0f} MB"
        )


def _giga(number: float) -> str:
    """In units of 1e9, to about three digits: 0.123, 12.3, 2,349."""
    value = number / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
