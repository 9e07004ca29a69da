"""Tests the claims C22 to C24, C26, C27 and F06 on similarity maps.

Plain CKA has a random floor that depends on the matrix sizes, so a comparison of similarities
holds only if it holds for both estimators. The verdict about a level, C24, uses plain CKA as in the
paper, and reports the floor.
"""

from __future__ import annotations

from collections.abc import Callable

from scipy.stats import norm

from lemon.configuration.figure_specs import COMPONENTS, MEASURES
from lemon.reporting.claims.verdict import FAILS, HOLDS, UNRESOLVED, agreed
from lemon.reporting.facts.similarity_maps import SimilarityFacts
from lemon.reporting.facts.statistics import DETECTABLE, LEVEL, SHOWN_EQUIVALENT
from lemon.similarity.agreement import (
    block_excess_gap,
    likeness_gain,
    map_correlation,
    profile_gaps,
    relative_depth_profiles,
)
from lemon.similarity.blocks import block_stability, blocks, partition_stability
from lemon.similarity.layer_pairs import TIE
from lemon.similarity.profile import distance_profile, neighbour_curve, thirds

BOUND = 0.8  # the paper's "below 80 %" (C24)


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
    partition, types = blocks(maps.map(0, "debiased")), COMPONENTS[maps.panels[0].component]
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
    """C26: the fused model's map is closer to the source's than that of plain Cut, the control.

    Whatever keeps some of the source's layers as they are keeps their similarities too, so a high
    correlation alone says nothing of fusing.
    """
    words, verdicts = [], []
    fused, control = maps.kept[1:3]
    name = maps.panels[2].label
    for measure in MEASURES:
        source, own, other = (maps.map(number, measure) for number in range(3))
        found = [map_correlation(own, source, fused), map_correlation(other, source, control)]
        gain = likeness_gain(own, other, source, fused or [], control or [])
        reach = norm.ppf(1 - LEVEL / 2) * gain.standard_error
        words.append(
            f"{measure}: rank correlation with the source's map {found[0].spearman:.3f} (Mantel p "
            f"= {found[0].spearman_p_value:.3f}), of {name} (control) "
            f"{found[1].spearman:.3f}; difference {gain.value:+.3f} \N{PLUS-MINUS SIGN} {reach:.3f}"
        )
        resolved = abs(gain.value) > reach + TIE
        if not resolved:
            words[-1] += f", could show {DETECTABLE * gain.standard_error:.3f}"
        verdicts.append((HOLDS if gain.value > 0 else FAILS) if resolved else UNRESOLVED)
    return "; ".join(words), agreed(verdicts)


def sizes_are_alike(maps: SimilarityFacts) -> tuple[str, str]:
    """C27: both sizes are equally similar near, halfway and far over the relative distance.

    In each third of the distance two one-sided tests show the difference to be within the margin;
    all three must (an intersection-union test, whose level needs no adjustment).
    """
    margin = maps.spec.margin
    assert margin is not None  # `figure_mistakes` refuses the claim without one
    words, verdicts = [], []
    for measure in MEASURES:
        first, second = maps.map(0, measure), maps.map(1, measure)
        both = relative_depth_profiles(first, second)
        gaps = profile_gaps(first, second)
        reach = norm.ppf(1 - LEVEL)
        within = all(abs(gap.value) + reach * gap.standard_error < margin for gap in gaps)
        beyond = any(abs(gap.value) - reach * gap.standard_error > margin for gap in gaps)
        listed = ", ".join(
            f"{gap.value:+.3f} \N{PLUS-MINUS SIGN} {reach * gap.standard_error:.3f}" for gap in gaps
        )
        words.append(
            f"{measure}: mean similarity differs by {listed} near, halfway and far (margin "
            f"{margin:g}); distance profiles correlate by {both.correlation:.3f}"
        )
        verdicts.append(HOLDS if within else FAILS if beyond else UNRESOLVED)
        if verdicts[-1] == UNRESOLVED:
            widest = max(gap.standard_error for gap in gaps)
            words[-1] += f", could show a margin of {SHOWN_EQUIVALENT * widest:.3f}"
    return "; ".join(words), agreed(verdicts)


def outputs_form_blocks(maps: SimilarityFacts) -> tuple[str, str]:
    """F06: blocks in the map of FFN outputs stand out more than those in that of attention outputs.

    Blocks are looked for in both maps; the claim holds if by leaving out one layer at a time the
    FFN's are shown to exceed other pairs at the same distance by more.
    """
    words, verdicts = [], []
    for measure in MEASURES:
        attention, ffn = maps.map(0, measure), maps.map(1, measure)
        spans = [
            ", ".join(f"{first} to {last}" for first, last in blocks(map).blocks) or "none"
            for map in (attention, ffn)
        ]
        gap = block_excess_gap(ffn, attention)
        reach = norm.ppf(1 - LEVEL / 2) * gap.standard_error
        resolved = abs(gap.value) > reach + TIE
        words.append(
            f"{measure}: blocks of attention {spans[0]}, of FFN {spans[1]}; those of FFN stand out "
            f"by {gap.value:+.3f} \N{PLUS-MINUS SIGN} {reach:.3f} more"
        )
        if not resolved:
            words[-1] += f", could show {DETECTABLE * gap.standard_error:.3f}"
        verdicts.append((HOLDS if gap.value > 0 else FAILS) if resolved else UNRESOLVED)
    return "; ".join(words), agreed(verdicts)


MEASURED: dict[str, Callable[[SimilarityFacts], tuple[str, str]]] = {
    "C22": neighbours_are_closer,
    "C23": blocks_in_the_middle,
    "C24": neighbours_stay_below,
    "C26": pattern_is_kept,
    "C27": sizes_are_alike,
    "F06": outputs_form_blocks,
}
