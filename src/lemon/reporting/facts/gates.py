"""Whether the gates of pruning have settled, so that what is exported is what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPARSITY_MARGIN = 0.01  # of the target sparsity
SMALLEST_KEPT = 0.9


@dataclass(frozen=True)
class Gates:
    """The gates of one run, over all its structures.

    Attributes:
        sparsity, target: of the structure whose sparsity is farthest from its target.
        smallest_kept: smallest gate of a kept unit.
        largest_dropped: largest gate of a dropped unit, before it was cut.
    """

    sparsity: float
    target: float
    smallest_kept: float
    largest_dropped: float

    @property
    def converged(self) -> bool:
        """Whether the sparsity is within 1 % of its target, and every kept gate above 0.9."""
        near = abs(self.sparsity - self.target) <= SPARSITY_MARGIN * self.target
        return near and self.smallest_kept > SMALLEST_KEPT


def gates_of(manifest: dict[str, Any]) -> Gates | None:
    """The gates in a manifest of `learn` or of a trial; None if nothing was pruned."""
    structures = manifest.get("gates", {}).values()
    if not structures:
        return None
    farthest = max(structures, key=lambda one: abs(one["sparsity"] - one["target_sparsity"]))
    return Gates(
        sparsity=farthest["sparsity"],
        target=farthest["target_sparsity"],
        smallest_kept=min(one["smallest_kept_gate"] for one in structures),
        largest_dropped=max(one["largest_dropped_gate"] for one in structures),
    )
