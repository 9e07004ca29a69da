"""Tests the paper's claims C22 to C24, C26 and C27 on similarity maps.

Plain CKA has a random floor that depends on the matrix sizes, so a comparison of similarities
holds only if it holds for both estimators. The verdict about a level, C24, uses plain CKA as in the
paper, and reports the floor.
"""

from __future__ import annotations

from collections.abc import Callable

from lemon.configuration.paper import COMPONENTS, MEASURES
from lemon.reporting.claims.verdict import FAILS, HOLDS, UNRESOLVED, agreed
from lemon.reporting.facts.similarity_maps import SimilarityFacts
from lemon.reporting.facts.statistics import LEVEL
from lemon.similarity.agreement import map_correlation, relative_depth_profiles
from lemon.similarity.blocks import block_stability, partition_stability
from lemon.similarity.profile import distance_profile, neighbour_curve, thirds

BOUND = 0.8  # the paper's "below 80 %" (C24)
ALIKE = 0.5  # minimum correlation at which two patterns count as similar (our choice)


def neighbours_are_closer(maps: SimilarityFacts) -> tuple[str, str]:
    """C22: similarity decreases with distance."""
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
    return "; ".join(words), agreed(verdicts)


def blocks_in_the_middle(maps: SimilarityFacts) -> tuple[str, str]:
    """C23: middle and deep layers form blocks; the first and the last layer differ from others."""
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
    partition, types = maps.partitions[0], COMPONENTS[maps.panels[0].component]
    stability = block_stability([maps.map(0, "debiased", f"{type}_proj") for type in types])
    steady = partition_stability(maps.map(0, "debiased"))
    spans = ", ".join(f"{first} to {last}" for first, last in partition.blocks) or "none"
    words.append(
        f"detected blocks: layers {spans} (debiased within {partition.within:.3f}, between "
        f"{partition.between:.3f}, {partition.excess:+.3f} against other pairs at their distance); "
        f"the matrix types agree on the partition by an adjusted Rand index of {stability:.2f}, "
        f"noisy copies of the map by {steady:.2f}"
    )
    return "; ".join(words), agreed(verdicts)


def neighbours_stay_below(maps: SimilarityFacts) -> tuple[str, str]:
    """C24: even the most similar neighbours stay below 0.8."""
    curve, debiased = (neighbour_curve(maps.map(0, measure)) for measure in MEASURES)
    floor = maps.panels[0].floor
    beside = f", random floor {floor:.2f}" if floor is not None else ""
    words = (
        f"largest plain value {curve.maximum:.3f}, layers {curve.layer} and {curve.layer + 1}"
        f"{beside}; largest debiased value {debiased.maximum:.3f}"
    )
    return words, HOLDS if curve.maximum < BOUND else FAILS


def pattern_is_kept(maps: SimilarityFacts) -> tuple[str, str]:
    """C26: the fused model's map is similar to the source's; later panels are controls."""
    words, verdicts = [], []
    for measure in MEASURES:
        source = maps.map(0, measure)
        for number, panel in enumerate(maps.panels[1:], start=1):
            likeness = map_correlation(maps.map(number, measure), source, panel.kept)
            correlation, p_value = likeness.spearman, likeness.spearman_p_value
            control = "" if number == 1 else " (control)"
            words.append(
                f"{measure}, {panel.label}{control}: rank correlation with the source's map "
                f"{correlation:.3f} (Mantel p = {p_value:.3f})"
            )
            if number == 1:
                verdicts.append(HOLDS if correlation >= ALIKE and p_value < LEVEL else FAILS)
    return "; ".join(words), agreed(verdicts)


def sizes_are_alike(maps: SimilarityFacts) -> tuple[str, str]:
    """C27: the distance profiles of both model sizes are similar."""
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
    return "; ".join(words), agreed(verdicts)


MEASURED: dict[str, Callable[[SimilarityFacts], tuple[str, str]]] = {
    "C22": neighbours_are_closer,
    "C23": blocks_in_the_middle,
    "C24": neighbours_stay_below,
    "C26": pattern_is_kept,
    "C27": sizes_are_alike,
}
