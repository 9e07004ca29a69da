"""The measures on which two rows are ordered, and the paired test of a pair of rows on each.

Every measure is a mean over strata (tasks, or domains of text) that have documents in common for
both rows. Each has its own family of tests: one for each ordering of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from lemon.configuration.paper import Margins
from lemon.reporting.claims.verdict import FAILS, HOLDS, MEASURES_IN_WORDS, UNRESOLVED
from lemon.reporting.facts.rows import Side
from lemon.reporting.facts.scores import BITS, CALIBRATED_LOSS, LOSS, SHARE
from lemon.reporting.facts.statistics import (
    DETECTABLE,
    LEVEL,
    SHOWN_EQUIVALENT,
    TASKS_ALIKE,
    Design,
    equivalence_test,
    mean_over_strata,
    paired_difference,
    sign_flip_test,
)

ACCURACY = "accuracy"


@dataclass(frozen=True)
class Measure:
    """A measure of rows.

    Attributes:
        name: its key in manifests.
        margin: its key in a comparison's margins.
        unit: of its differences.
        higher_is_better: whether the better row has the higher value.
        scale, decimals: of its printed values.
        scores: the attribute of a `RunResult`: by stratum the score of each document or sequence.
    """

    name: str
    margin: str
    unit: str
    higher_is_better: bool
    scale: float
    decimals: int
    scores: str

    def design(self, side: Side) -> Design:
        """How the strata of a side add up."""
        return side.first.heldout_design if self.margin == LOSS else TASKS_ALIKE

    @property
    def words(self) -> str:
        """Its printed name."""
        return MEASURES_IN_WORDS[self.name]

    @property
    def heading(self) -> str:
        """The heading of its differences, with the unit where the name does not have it."""
        name = self.words[0].upper() + self.words[1:]
        return name if self.unit in name else f"{name}, {self.unit}"


MEASURES = (
    Measure(ACCURACY, ACCURACY, "points", True, 100.0, 1, "correct"),
    Measure(BITS, BITS, "bits per byte", False, 1.0, 3, "bits_per_byte"),
    # Of the tasks that have choices.
    Measure(SHARE, SHARE, "points", True, 100.0, 2, "answer_share"),
    Measure(LOSS, LOSS, "nats per token", False, 1.0, 3, "sequences"),
    # Without what a temperature alone would have gained.
    Measure(CALIBRATED_LOSS, LOSS, "nats per token", False, 1.0, 3, "calibrated_sequences"),
)


@dataclass(frozen=True)
class MeasureTest:
    """Two rows on one measure; values are in its unit.

    Attributes:
        measure: its name.
        first, second: the means over strata.
        difference, low, high: first minus second, with the 95 % interval of the paired bootstrap.
        detectable: the smallest true difference that these documents show with 80 % power at 5 %,
            in a single test; for an equivalence the smallest margin.
        margin: of an equivalence; None for an order.
        right, pairs: the number of seed pairs in which the first is better, and of all pairs: equal
            seeds if both rows have the same seeds, otherwise all combinations.
        p_value, p_adjusted: as computed, and after Holm over the tested orderings of the table on
            this measure; None without a test.
        verdict: by the adjusted p-value, or why there is none.
    """

    measure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    detectable: float
    margin: float | None
    right: int
    pairs: int
    p_value: float | None
    p_adjusted: float | None
    verdict: str


def p_value_of(measure: Measure, first: Side, second: Side, margins: Margins | None) -> float:
    """The p-value of two rows on a measure: of an order, or with margins of an equivalence."""
    ones, twos = (side.over_seeds(measure.scores) for side in (first, second))
    design = measure.design(first)
    if margins is None:
        return sign_flip_test(ones, twos, design)
    margin = getattr(margins, measure.margin)
    return equivalence_test(ones, twos, margin / measure.scale, design)


def measure_test(
    measure: Measure,
    first: Side,
    second: Side,
    margins: Margins | None,
    p_values: tuple[float, float] | None,
    untested: str | None,
) -> MeasureTest:
    """The differences of two rows on a measure, with the verdict.

    Args:
        measure: on which both rows have scores.
        first, second: the rows, or the gains.
        margins: of an equivalence; None for an order.
        p_values: as computed, and adjusted; None if not tested.
        untested: the verdict if not tested.
    """
    ones, twos = (side.over_seeds(measure.scores) for side in (first, second))
    design = measure.design(first)
    found = paired_difference(ones, twos, design)
    margin = None if margins is None else float(getattr(margins, measure.margin))
    pairs = _seed_pairs(measure, first, second)
    scale = measure.scale
    p_value, p_adjusted = p_values or (None, None)
    verdict = untested or ""
    if p_adjusted is not None:
        verdict = measure_verdict(measure, scale * found.estimate, margin, p_adjusted)
    errors = DETECTABLE if margin is None else SHOWN_EQUIVALENT
    return MeasureTest(
        measure=measure.name,
        first=round(scale * mean_over_strata(ones, design), 4),
        second=round(scale * mean_over_strata(twos, design), 4),
        difference=round(scale * found.estimate, 4),
        low=round(scale * found.interval.low, 4),
        high=round(scale * found.interval.high, 4),
        detectable=round(scale * errors * found.standard_error, 4),
        margin=margin,
        right=sum(pairs),
        pairs=len(pairs),
        p_value=p_value,
        p_adjusted=p_adjusted,
        verdict=verdict,
    )


def measure_verdict(
    measure: Measure, difference: float, margin: float | None, p_adjusted: float
) -> str:
    """The verdict on "the first is better", or with a margin on "both are equally good".

    `difference`, first minus second, and `margin` are in the measure's unit.
    """
    if p_adjusted >= LEVEL:
        return UNRESOLVED
    if margin is not None:
        return HOLDS if abs(difference) < margin else FAILS
    return HOLDS if (difference > 0) == measure.higher_is_better else FAILS


def _seed_pairs(measure: Measure, first: Side, second: Side) -> list[bool]:
    """For each pair of seeds, whether the first is better; none for gains."""
    if first.second or second.second:
        return []
    design = measure.design(first)
    one, two = (
        {
            run.seed: mean_over_strata(getattr(result, measure.scores), design)
            for run, result in zip(side.first.runs, side.first.results, strict=True)
        }
        for side in (first, second)
    )
    seeds = [(seed, seed) for seed in one] if one.keys() == two.keys() else [*product(one, two)]
    sign = 1 if measure.higher_is_better else -1
    return [sign * (one[a] - two[b]) > 0 for a, b in seeds]
