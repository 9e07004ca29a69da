"""What similarity maps say of the paper's claims C22 to C24, C26 and C27.

Plain CKA has a random floor that depends on the sizes of the matrices, so a claim about "more
alike" holds only if it does by both estimators. Verdicts about a level, C24, go by plain CKA, as
the paper's does, with the floor beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lemon.configuration.paper import COMPONENTS, MEASURES
from lemon.published.tables import published_claims
from lemon.reporting.claims.orderings import FAILS, HOLDS, UNRESOLVED
from lemon.reporting.facts.similarity_maps import map_of
from lemon.reporting.figures.figure_numbers import Finding
from lemon.similarity.agreement import map_correlation, relative_depth_profiles
from lemon.similarity.block_stability import block_stability, partition_stability
from lemon.similarity.blocks import blocks
from lemon.similarity.profile import distance_profile, neighbour_curve, thirds

BOUND = 0.8  # of C24, the paper's "below 80 %"
LEVEL = 0.05
ALIKE = 0.5  # least rank correlation at which one pattern is called like another (ours)


@dataclass(frozen=True)
class MapSet:
    """The maps of a figure, as findings need them.

    Attributes:
        frame: the tidy lines.
        components: what each panel shows.
        labels: titles of the panels.
        floors: plain CKA of random matrices of each panel's sizes.
        kept: for each panel the source layer that leads each of its layers, or None.
    """

    frame: pd.DataFrame
    components: list[str]
    labels: list[str]
    floors: list[float | None]
    kept: list[list[int] | None]

    def map(self, panel: int, measure: str, component: str | None = None) -> np.ndarray:
        """One map, [L, L]."""
        return map_of(self.frame, panel, component or self.components[panel], measure)


def findings(maps: MapSet, claims: tuple[str, ...]) -> list[Finding]:
    """A finding for each claim that is measured on maps."""
    known = published_claims()
    found = []
    for claim in claims:
        measured, verdict = MEASURED[claim](maps)
        found.append(Finding(claim, known[claim]["claim"], measured, verdict))
    return found


def neighbours_are_closer(maps: MapSet) -> tuple[str, str]:
    """C22: similarity falls with distance."""
    words, verdicts = [], []
    for measure in MEASURES:
        profile = distance_profile(maps.map(0, measure))
        words.append(
            f"{measure} {profile.means[0]:.3f} at distance 1, {profile.nearest_minus_farther:+.3f} "
            f"against the pairs farther apart; rank correlation with distance "
            f"{profile.rank_correlation:.2f} (Mantel p = {profile.p_value:.3f})"
        )
        falls = profile.nearest_minus_farther > 0 and profile.rank_correlation < 0
        verdicts.append((HOLDS if falls else FAILS) if profile.p_value < LEVEL else UNRESOLVED)
    return "; ".join(words), _both(verdicts)


def blocks_in_the_middle(maps: MapSet) -> tuple[str, str]:
    """C23: middle and deep layers form blocks; the first and the last stand apart."""
    words, verdicts = [], []
    for measure in MEASURES:
        split = thirds(maps.map(0, measure))
        words.append(
            f"{measure} {split.first:.3f}, {split.middle:.3f}, {split.deep:.3f} within the first, "
            f"middle and deep third; {split.first_layer:.3f} of the first layer and "
            f"{split.last_layer:.3f} of the last to all others, {split.ends_excess:+.3f} against "
            "other pairs at the same distance"
        )
        apart = min(split.middle, split.deep) > split.ends and split.ends_excess < 0
        verdicts.append(HOLDS if apart else FAILS)
    partition = blocks(maps.map(0, "debiased"))
    stability = block_stability(
        [maps.map(0, "debiased", f"{type}_proj") for type in COMPONENTS[maps.components[0]]]
    )
    steady = partition_stability(maps.map(0, "debiased"))
    spans = ", ".join(f"{first} to {last}" for first, last in partition.blocks) or "none"
    words.append(
        f"detected blocks: layers {spans} (debiased within {partition.within:.3f}, between "
        f"{partition.between:.3f}, {partition.excess:+.3f} against other pairs at their distance); "
        f"the matrix types agree on the partition by an adjusted Rand index of {stability:.2f}, "
        f"noisy copies of the map by {steady:.2f}"
    )
    return "; ".join(words), _both(verdicts)


def neighbours_stay_below(maps: MapSet) -> tuple[str, str]:
    """C24: even the most similar neighbours stay under 0.8."""
    curve = neighbour_curve(maps.map(0, "plain"))
    debiased = neighbour_curve(maps.map(0, "debiased"))
    floor = maps.floors[0]
    beside = f", random floor {floor:.2f}" if floor is not None else ""
    words = (
        f"largest plain value {curve.maximum:.3f}, layers {curve.layer} and {curve.layer + 1}"
        f"{beside}; largest debiased value {debiased.maximum:.3f}"
    )
    return words, HOLDS if curve.maximum < BOUND else FAILS


def pattern_is_kept(maps: MapSet) -> tuple[str, str]:
    """C26: the fused model's map is like the source's; later panels are controls."""
    words, verdicts = [], []
    for measure in MEASURES:
        source = maps.map(0, measure)
        for panel in range(1, len(maps.labels)):
            likeness = map_correlation(maps.map(panel, measure), source, maps.kept[panel])
            control = "" if panel == 1 else " (control)"
            words.append(
                f"{measure}, {maps.labels[panel]}{control}: rank correlation with the source's map "
                f"{likeness.spearman:.3f} (Mantel p = {likeness.spearman_p_value:.3f})"
            )
            if panel == 1:
                alike = likeness.spearman >= ALIKE and likeness.spearman_p_value < LEVEL
                verdicts.append(HOLDS if alike else FAILS)
    return "; ".join(words), _both(verdicts)


def sizes_are_alike(maps: MapSet) -> tuple[str, str]:
    """C27: the distance profile of the second size is like that of the first."""
    words, verdicts = [], []
    for measure in MEASURES:
        first, second = maps.map(0, measure), maps.map(1, measure)
        both = relative_depth_profiles(first, second)
        words.append(
            f"{measure}: distance profiles correlate by {both.correlation:.3f}, largest difference "
            f"{both.largest_difference:.3f}"
        )
        falls = all(distance_profile(m).rank_correlation < 0 for m in (first, second))
        verdicts.append(HOLDS if falls and both.correlation >= ALIKE else FAILS)
    return "; ".join(words), _both(verdicts)


def _both(verdicts: list[str]) -> str:
    """What all estimators agree on."""
    return verdicts[0] if len(set(verdicts)) == 1 else UNRESOLVED


MEASURED: dict[str, Callable[[MapSet], tuple[str, str]]] = {
    "C22": neighbours_are_closer,
    "C23": blocks_in_the_middle,
    "C24": neighbours_stay_below,
    "C26": pattern_is_kept,
    "C27": sizes_are_alike,
}
