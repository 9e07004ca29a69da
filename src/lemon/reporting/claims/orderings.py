"""Paired tests of orderings of rows: both rows answered the same documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lemon.configuration.paper import Comparison
from lemon.configuration.planned_run import PlannedRun
from lemon.published.tables import published_claims
from lemon.reporting.claims.measures import MEASURES, MeasureTest, measure_test, p_value_of
from lemon.reporting.claims.verdict import BELOW_FLOOR, NOT_TESTED
from lemon.reporting.facts.accuracy import AccuracyFacts
from lemon.reporting.facts.heldout import UNIGRAM
from lemon.reporting.facts.rows import ScoredRow, Side, difference_of
from lemon.reporting.facts.statistics import (
    Interval,
    holm,
    mcnemar,
    paired_difference,
    sign_flip_test,
)

SAME_RUN = "both rows are the same run at this preset"
SAME_ORDER, OPPOSITE_ORDER, TIED = "same order as paper", "opposite order", "tied"


@dataclass(frozen=True)
class TaskTest:
    """Two rows on one task: their difference in points and its p-value, also after Holm over tasks.

    `only_first` and `only_second` count the documents that only one row answers correctly, for the
    exact McNemar test of two single runs; they are None for the sign-flip test of several seeds.
    """

    task: str
    difference: float
    only_first: int | None
    only_second: int | None
    p_value: float
    p_adjusted: float


@dataclass(frozen=True)
class OrderingTest:
    """The test of a comparison: "first beats second", or "first equals second" within margins.

    Attributes:
        claim, statement: id and text of the paper's claim; None for other orderings.
        first, second: labels of the rows; `first_runs`, `second_runs` their run ids.
        layers, published_layers: depth of the first model, here and in the paper.
        published_difference: of the mean accuracies, from the paper's numbers; None if it lacks a
            row.
        equivalent: whether it is tested that both are equally good.
        gains: of two pairs, the first run of each row, pair by pair; empty for two rows.
        not_tested: why the rows are not what the claim is about, or are the same; None if neither.
        below_floor: whether no row is below the unigram floor, see `is_below_floor`, or none of one
            of two gains.
        measures: the tests by measure; without those on which a row has no scores.
        tasks: accuracy task by task.
    """

    claim: str | None
    statement: str | None
    first: str
    second: str
    first_runs: list[str]
    second_runs: list[str]
    layers: int
    published_layers: int | None
    published_difference: float | None
    equivalent: bool
    gains: list[list[str]]
    not_tested: str | None
    below_floor: bool
    measures: dict[str, MeasureTest]
    tasks: list[TaskTest]

    @property
    def untested(self) -> str | None:
        """The verdict of an ordering that is not tested; None if it is."""
        return NOT_TESTED if self.not_tested else BELOW_FLOOR if self.below_floor else None

    @property
    def is_of_paper(self) -> bool:
        """Whether the paper orders the two rows, by numbers or by a claim."""
        return self.published_difference is not None or self.claim is not None

    @property
    def is_published(self) -> bool:
        """Whether the paper has what is tested."""
        if self.published_difference is None or self.equivalent:
            return self.claim is not None
        return self.published_difference > 0


def ordering_tests(facts: AccuracyFacts) -> list[OrderingTest]:
    """Test all comparisons of the table's entry in `paper.yaml`, on each measure as one family."""
    row_of = {run: row for row in facts.rows for run in row.spec.runs}
    sides = [(*_sides(one, row_of), one.margin) for one in facts.spec.comparisons]
    tests = [
        _untested(comparison, first, second, facts.floors)
        for comparison, (first, second, _) in zip(facts.spec.comparisons, sides, strict=True)
    ]
    for measure in MEASURES:
        scored = [
            index
            for index, (first, second, _) in enumerate(sides)
            if first.over_seeds(measure.scores) and second.over_seeds(measure.scores)
        ]
        family = [index for index in scored if tests[index].untested is None]
        p_values = [p_value_of(measure, *sides[index]) for index in family]
        tested = dict(zip(family, zip(p_values, holm(p_values), strict=True), strict=True))
        for index in scored:
            test = tests[index]
            test.measures[measure.name] = measure_test(
                measure, *sides[index], tested.get(index), test.untested
            )
    return tests


def _sides(comparison: Comparison, row_of: Mapping[str, ScoredRow]) -> tuple[Side, Side]:
    """The two rows of a comparison, or the gains of its two pairs."""
    first, second = row_of[comparison.first], row_of[comparison.second]
    if comparison.than is None:
        return Side(first), Side(second)
    return Side(first, second), Side(row_of[comparison.than.first], row_of[comparison.than.second])


def is_below_floor(rows: Iterable[ScoredRow], floors: Mapping[str, float]) -> bool:
    """Whether no row predicts held-out text better than token frequencies do.

    That is, the lowest held-out loss at the best temperature is not below the unigram floor. Rows
    without held-out losses count as above.
    """
    losses = [row.calibrated.value for row in rows]
    floor = floors.get(UNIGRAM)
    return floor is not None and all(loss is not None and loss >= floor for loss in losses)


def _untested(
    comparison: Comparison, first: Side, second: Side, floors: Mapping[str, float]
) -> OrderingTest:
    """A comparison without its tests on measures."""
    rows = [*first.rows, *second.rows]
    compared = [first.rows, second.rows] if comparison.than else [rows]
    statement = published_claims()[comparison.claim]["claim"] if comparison.claim else None
    made = [[[_made_by(run) for run in row.runs] for row in one.rows] for one in (first, second)]
    return OrderingTest(
        claim=comparison.claim,
        statement=statement,
        first=first.label,
        second=second.label,
        first_runs=[run for row in first.rows for run in row.spec.runs],
        second_runs=[run for row in second.rows for run in row.spec.runs],
        layers=first.first.layers,
        published_layers=rows[0].spec.published_layers,
        published_difference=difference_of(first.published, second.published),
        equivalent=comparison.relation == "equivalent",
        gains=[[row.spec.runs[0] for row in side.rows] for side in (first, second) if side.second],
        not_tested=comparison.not_tested or (SAME_RUN if made[0] == made[1] else None),
        below_floor=any(is_below_floor(one, floors) for one in compared),
        measures={},
        tasks=_task_tests(first, second),
    )


def _made_by(run: PlannedRun | None) -> tuple[object, ...]:
    """What a run's model follows from, names resolved; of those before it too."""
    if run is None:
        return ()
    before = run.row.start if run.start is None else _made_by(run.start), _made_by(run.source)
    sizes = run.target_shape, run.tied_ffn_layers, run.radii, run.rearranged, run.given_model
    rates = run.learning, run.pruning, run.pretraining
    return run.method.name, *before, *sizes, *rates, run.steps, run.seed


def _task_tests(first: Side, second: Side) -> list[TaskTest]:
    """Exact McNemar tests between single runs; sign-flip tests of several seeds and of gains."""
    ones, twos = (side.over_seeds("correct") for side in (first, second))
    rows = [*first.rows, *second.rows]
    single = len(rows) == 2 and all(len(row.results) == 1 for row in rows)
    exact = {task: mcnemar(ones[task], twos[task]) for task in ones} if single else {}
    p_values = [
        exact[task].p_value if single else sign_flip_test({task: ones[task]}, {task: twos[task]})
        for task in ones
    ]
    return [
        TaskTest(
            task=task,
            difference=round(100 * float(ones[task].mean() - twos[task].mean()), 4),
            only_first=exact[task].only_first if single else None,
            only_second=exact[task].only_second if single else None,
            p_value=p_value,
            p_adjusted=p_adjusted,
        )
        for task, p_value, p_adjusted in zip(ones, p_values, holm(p_values), strict=True)
    ]


def orders_as_in_paper(facts: AccuracyFacts) -> list[dict[str, str]]:
    """For each row, by score: whether its order to the reference of its sizes is the paper's.

    A score is missing if the paper has no order, or the row or the reference was not run.
    """
    references = [row for row in reversed(facts.rows) if row.spec.label in facts.spec.reference]
    reference_of = {row.spec.target: row for row in references}  # the first of each target
    return [_orders(row, reference_of.get(row.spec.target)) for row in facts.rows]


def _orders(row: ScoredRow, reference: ScoredRow | None) -> dict[str, str]:
    if reference is None or reference is row or not reference.results or not row.results:
        return {}
    found = {}
    for name in row.scores:
        ours, theirs = row.published_value(name), reference.published_value(name)
        if ours is None or theirs is None or ours == theirs:
            continue
        tasks = (name,) if name in row.tasks else row.tasks
        answers = (one.over_seeds("correct") for one in (row, reference))
        ones, twos = ({task: own[task] for task in tasks} for own in answers)
        difference = paired_difference(ones, twos)
        found[name] = order_verdict(ours - theirs, difference.estimate, difference.interval)
    return found


def order_verdict(published: float, difference: float, interval: Interval) -> str:
    """Compare the sign of a difference with the paper's; `TIED` if its sign is unresolved."""
    if not interval.excludes_zero():
        return TIED
    return SAME_ORDER if (published > 0) == (difference > 0) else OPPOSITE_ORDER
