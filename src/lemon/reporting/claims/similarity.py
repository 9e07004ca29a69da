"""Tests the claims C22 to C24, C26, C27 and F06 on similarity maps.

Plain CKA has a random floor that depends on the matrix sizes, so a comparison of similarities
holds only if it holds for both estimators. The verdict about a level, C24, uses plain CKA as in the
paper, and reports the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from scipy.stats import norm

from lemon.configuration.figure_specs import COMPONENTS, MEASURES
from lemon.reporting.claims.verdict import FAILS, HOLDS, UNRESOLVED
from lemon.reporting.facts.similarity_maps import SimilarityFacts
from lemon.reporting.facts.statistics import DETECTABLE, LEVEL, SHOWN_EQUIVALENT
from lemon.similarity.agreement import (
    Estimate,
    block_excess_gap,
    likeness_gain,
    map_correlation,
    profile_correlation,
    profile_gaps,
)
from lemon.similarity.blocks import Blocks, block_stability, blocks, partition_stability
from lemon.similarity.layer_pairs import TIE
from lemon.similarity.profile import distance_profile, thirds

BOUND = 0.8  # the paper's "below 80 %" (C24)


Measured = tuple[str, str]  # in words, and the verdict


def of_each(claim: Callable[[SimilarityFacts, str], Measured]) -> Callable[..., Measured]:
    """A claim that both estimators must show: the words of each, and the verdict if they agree."""

    @wraps(claim)
    def of_both(maps: SimilarityFacts) -> Measured:
        words, verdicts = zip(*(claim(maps, measure) for measure in MEASURES), strict=True)
        return "; ".join(words), verdicts[0] if len({*verdicts}) == 1 else UNRESOLVED

    return of_both


@of_each
def neighbours_are_closer(maps: SimilarityFacts, measure: str) -> Measured:
    """C22: similarity decreases with distance."""
    profile = distance_profile(maps.map(0, measure))
    words = (
        f"{measure} {profile.means[0]:.3f} at distance 1, {profile.nearest_minus_farther:+.3f} "
        f"against the pairs farther apart; rank correlation with distance "
        f"{profile.rank_correlation:.2f} (Mantel p = {profile.p_value:.3f})"
    )
    falls = profile.nearest_minus_farther > 0 and profile.rank_correlation < 0
    return words, (HOLDS if falls else FAILS) if profile.p_value < LEVEL else UNRESOLVED


@of_each
def ends_differ(maps: SimilarityFacts, measure: str) -> Measured:
    """C23: middle and deep layers form blocks; the first and the last layer differ from others."""
    split = thirds(maps.map(0, measure))
    words = (
        f"{measure} {split.first:.3f}, {split.middle:.3f}, {split.deep:.3f} within the first, "
        f"middle and deep third; {split.first_layer:.3f} of the first layer and "
        f"{split.last_layer:.3f} of the last to all others, {split.ends_excess:+.3f} against "
        "other pairs at the same distance"
    )
    apart = min(split.middle, split.deep) > split.ends and split.ends_excess < 0
    return words, HOLDS if apart else FAILS


def blocks_in_the_middle(maps: SimilarityFacts) -> Measured:
    """C23 with the detected blocks in words."""
    words, verdict = ends_differ(maps)
    debiased, types = maps.map(0, "debiased"), COMPONENTS[maps.panels[0].component]
    partition, steady = blocks(debiased), partition_stability(debiased)
    stability = block_stability([maps.map(0, "debiased", f"{type}_proj") for type in types])
    words += (
        f"; detected blocks: layers {_spans(partition)} (debiased within {partition.within:.3f}, "
        f"between {partition.between:.3f}, {partition.excess:+.3f} against other pairs at their "
        "distance); the matrix types agree on the partition by an adjusted Rand index of "
        f"{stability:.2f}, noisy copies of the map by {steady:.2f}"
    )
    return words, verdict


def neighbours_stay_below(maps: SimilarityFacts) -> Measured:
    """C24: even the most similar neighbours stay below 0.8."""
    plain, debiased = (maps.map(0, measure).diagonal(1) for measure in MEASURES)
    layer = int(plain.argmax())
    floor = maps.panels[0].floor
    beside = f", random floor {floor:.2f}" if floor is not None else ""
    words = (
        f"largest plain value {plain.max():.3f}, layers {layer} and {layer + 1}"
        f"{beside}; largest debiased value {debiased.max():.3f}"
    )
    return words, HOLDS if plain.max() < BOUND else FAILS


@of_each
def pattern_is_kept(maps: SimilarityFacts, measure: str) -> Measured:
    """C26: the fused model's map is closer to the source's than that of plain Cut, the control.

    Whatever keeps some of the source's layers as they are keeps their similarities too, so a high
    correlation alone says nothing of fusing.
    """
    fused, control = (kept or [] for kept in maps.kept[1:3])
    source, own, other = (maps.map(number, measure) for number in range(3))
    correlation, p_value = map_correlation(own, source, fused)
    of_control, _ = map_correlation(other, source, control)
    gain = likeness_gain(own, other, source, fused, control)
    difference, aside, verdict = _resolved(gain)
    words = (
        f"{measure}: rank correlation with the source's map {correlation:.3f} (Mantel p "
        f"= {p_value:.3f}), of {maps.panels[2].label} (control) {of_control:.3f}; difference "
        f"{difference}{aside}"
    )
    return words, verdict


@of_each
def sizes_are_alike(maps: SimilarityFacts, measure: str) -> Measured:
    """C27: both sizes are equally similar near, halfway and far over the relative distance.

    In each third of the distance two one-sided tests show the difference to be within the margin;
    all three must (an intersection-union test, whose level needs no adjustment).
    """
    margin = maps.spec.margin
    assert margin is not None  # `figure_mistakes` refuses the claim without one
    first, second = maps.map(0, measure), maps.map(1, measure)
    both, gaps = profile_correlation(first, second), profile_gaps(first, second)
    reach = norm.ppf(1 - LEVEL)
    within = all(abs(gap.value) + reach * gap.standard_error < margin for gap in gaps)
    beyond = any(abs(gap.value) - reach * gap.standard_error > margin for gap in gaps)
    listed = ", ".join(_with_reach(gap, reach) for gap in gaps)
    words = (
        f"{measure}: mean similarity differs by {listed} near, halfway and far (margin "
        f"{margin:g}); distance profiles correlate by {both:.3f}"
    )
    verdict = HOLDS if within else FAILS if beyond else UNRESOLVED
    if verdict == UNRESOLVED:
        widest = max(gap.standard_error for gap in gaps)
        words += f", could show a margin of {SHOWN_EQUIVALENT * widest:.3f}"
    return words, verdict


@of_each
def outputs_form_blocks(maps: SimilarityFacts, measure: str) -> Measured:
    """F06: blocks in the map of FFN outputs stand out more than those in that of attention outputs.

    Blocks are looked for in both maps; the claim holds if by leaving out one layer at a time the
    FFN's are shown to exceed other pairs at the same distance by more.
    """
    attention, ffn = maps.map(0, measure), maps.map(1, measure)
    difference, aside, verdict = _resolved(block_excess_gap(ffn, attention))
    words = (
        f"{measure}: blocks of attention {_spans(blocks(attention))}, of FFN "
        f"{_spans(blocks(ffn))}; those of FFN stand out by {difference} more{aside}"
    )
    return words, verdict


def _spans(found: Blocks) -> str:
    return ", ".join(f"{first} to {last}" for first, last in found.blocks) or "none"


def _with_reach(gap: Estimate, reach: float) -> str:
    return f"{gap.value:+.3f} \N{PLUS-MINUS SIGN} {reach * gap.standard_error:.3f}"


def _resolved(gap: Estimate) -> tuple[str, str, str]:
    """A difference with its interval, what it could have shown if unresolved, and the verdict."""
    reach = norm.ppf(1 - LEVEL / 2)
    if abs(gap.value) > reach * gap.standard_error + TIE:
        return _with_reach(gap, reach), "", HOLDS if gap.value > 0 else FAILS
    aside = f", could show {DETECTABLE * gap.standard_error:.3f}"
    return _with_reach(gap, reach), aside, UNRESOLVED


MEASURED: dict[str, Callable[[SimilarityFacts], Measured]] = {
    "C22": neighbours_are_closer,
    "C23": blocks_in_the_middle,
    "C24": neighbours_stay_below,
    "C26": pattern_is_kept,
    "C27": sizes_are_alike,
    "F06": outputs_form_blocks,
}
