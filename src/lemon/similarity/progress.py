"""Progress output of a similarity map: its plan, progress lines, its speed."""

from __future__ import annotations

from collections.abc import Sequence

from lemon.progress import ProgressLine, say
from lemon.provenance import peak_memory_bytes
from lemon.similarity.gram_plan import ALLOWANCE_BYTES, GramPlan

MEGA = 10**6


def memory_bound(plans: Sequence[GramPlan]) -> int:
    """Upper bound of this process's resident bytes while it executes the plans one by one."""
    import torch  # noqa: F401 - so that the memory of the imported torch is counted

    return peak_memory_bytes() + max(plan.held_bytes for plan in plans) + ALLOWANCE_BYTES


class MapProgress:
    """The output for one map: the plan of its layer types, and the progress."""

    def __init__(self, label: str, plans: Sequence[GramPlan]) -> None:
        """Print the plan and start the timer; `label` starts every line."""
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
        """Count one layer of one pass, and print a progress line if due."""
        self._done += flop
        self._line.show(self._done // MEGA, f"{_giga(self._done / self._line.seconds)} GFLOP/s")

    def finished(self) -> None:
        """Print total time and speed."""
        seconds = self._line.seconds
        say(
            f"{self._label}: {seconds:.1f} s, {_giga(self._flop / seconds)} GFLOP/s, "
            f"peak memory {peak_memory_bytes() / MEGA:.0f} MB"
        )


def _giga(number: float) -> str:
    """In units of 1e9, to about three digits: 0.123, 12.3, 2,349."""
    value = number / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
