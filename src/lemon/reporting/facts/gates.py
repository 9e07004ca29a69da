"""Whether the gates of pruning have settled, so that what is exported is what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemon.configuration.planned_run import PlannedRun
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, read_manifest

SPARSITY_MARGIN = 0.01  # of the target sparsity
SMALLEST_KEPT = 0.9
NOT_CONVERGED = "not converged"
CONVERGED_IN_WORDS = (
    f"converged means sparsity within {100 * SPARSITY_MARGIN:.0f} % of its target, and every kept "
    f"gate above {SMALLEST_KEPT}"
)


@dataclass(frozen=True)
class Gates:
    """The gates of one run, over all its structures.

    Attributes:
        sparsity, target: of the structure whose sparsity is farthest off, in parts of its target.
        smallest_kept: smallest gate of a kept unit.
        largest_dropped: largest gate of a dropped unit, before it was cut.
        export: `folded` if gates were multiplied into the exported weights, `open` if those of kept
            units were set to 1; the tune text decided.
    """

    sparsity: float
    target: float
    smallest_kept: float
    largest_dropped: float
    export: str

    @property
    def converged(self) -> bool:
        """Whether the sparsity is within 1 % of its target, and every kept gate above 0.9."""
        near = abs(self.sparsity - self.target) <= SPARSITY_MARGIN * self.target
        return near and self.smallest_kept > SMALLEST_KEPT

    @property
    def state(self) -> str:
        """Whether they settled, in words."""
        return "converged" if self.converged else NOT_CONVERGED


def gates_of(manifest: dict[str, Any]) -> Gates | None:
    """The gates in a manifest of `learn` or of a trial; None if it has none."""
    structures = manifest.get("gates", {}).values()
    if not structures or not manifest.get("export"):
        return None
    farthest = max(structures, key=lambda one: abs(one["sparsity"] / one["target_sparsity"] - 1))
    return Gates(
        sparsity=farthest["sparsity"],
        target=farthest["target_sparsity"],
        smallest_kept=min(one["smallest_kept_gate"] for one in structures),
        largest_dropped=max(one["largest_dropped_gate"] for one in structures),
        export=manifest["export"]["gates"],
    )


def gates_of_runs(runs: list[PlannedRun], folder: Path) -> dict[str, Gates]:
    """The gates of those runs that prune, by id; `folder` holds the runs' folders.

    Raises:
        BadInput: a manifest is missing, damaged, or of a version that did not record gates.
    """
    found = {}
    for run in runs:
        if run.method.prunes:
            path = folder / run.id / MANIFEST
            gates = gates_of(read_manifest(path))
            if gates is None:
                raise BadInput(f"{path}: says nothing of its gates; remove the run, learn it again")
            found[run.id] = gates
    return found
