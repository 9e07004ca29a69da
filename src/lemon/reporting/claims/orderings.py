"""Paired tests of orderings of rows: both rows answered the same documents."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from lemon.configuration.paper import Comparison
from lemon.published.tables import published_claims
from lemon.reporting.claims.verdict import FAILS, HOLDS, mean_verdict
from lemon.reporting.facts.accuracy import AccuracyFacts
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.statistics import (
    Interval,
    holm,
    mcnemar,
    paired_difference,
    sign_flip_test,
)

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
class PerplexityOrder:
    """Two rows in held-out perplexity, compared without an interval.

    Attributes:
        loss_first, loss_second: nats per token, means over the seeds.
        right, pairs: the number of seed pairs in which the first has the lower loss, and of all
            pairs: equal seeds if both rows have the same seeds, otherwise all combinations.
    """

    loss_first: float
    loss_second: float
    right: int
    pairs: int
    verdict: str


@dataclass(frozen=True)
class OrderingTest:
    """The test of an ordering "first beats second".

    Attributes:
        claim, statement: id and text of the paper's claim; None for other orderings.
        first, second: labels of the rows; `first_runs`, `second_runs` their run ids.
        layers, published_layers: depth of the first model, here and in the paper.
        difference, low, high: first minus second of the mean over tasks, in points, with the
            95 % interval of the paired bootstrap.
        published_difference: the same from the paper's numbers; None if the paper lacks a row.
        p_value, p_adjusted: of the sign-flip test of the difference, as computed and after Holm
            over all orderings of the table.
        verdict: on the mean, by the adjusted p-value.
        perplexity: None if it was not measured.
    """

    claim: str | None
    statement: str | None
    first: str
    second: str
    first_runs: list[str]
    second_runs: list[str]
    layers: int
    published_layers: int | None
    difference: float
    low: float
    high: float
    published_difference: float | None
    p_value: float
    p_adjusted: float
    verdict: str
    perplexity: PerplexityOrder | None
    tasks: list[TaskTest]

    @property
    def is_of_paper(self) -> bool:
        """Whether the paper orders the two rows, by numbers or by a claim."""
        return self.published_difference is not None or self.claim is not None

    @property
    def is_published(self) -> bool:
        """Whether the paper orders the first above the second, the tested direction."""
        if self.published_difference is None:
            return self.claim is not None
        return self.published_difference > 0


def ordering_tests(facts: AccuracyFacts) -> list[OrderingTest]:
    """Test all comparisons of the table's entry in `paper.yaml`."""
    row_of = {run: row for row in facts.rows for run in row.spec.runs}
    pairs = [(row_of[pair.first], row_of[pair.second]) for pair in facts.spec.comparisons]
    p_values = [sign_flip_test(first.answers, second.answers) for first, second in pairs]
    return [
        _ordering_test(comparison, *pair, p_value, p_adjusted)
        for comparison, pair, p_value, p_adjusted in zip(
            facts.spec.comparisons, pairs, p_values, holm(p_values), strict=True
        )
    ]


def _ordering_test(
    comparison: Comparison, first: ScoredRow, second: ScoredRow, p_value: float, p_adjusted: float
) -> OrderingTest:
    difference, interval = paired_difference(first.answers, second.answers)
    statement = published_claims()[comparison.claim]["claim"] if comparison.claim else None
    return OrderingTest(
        claim=comparison.claim,
        statement=statement,
        first=first.label,
        second=second.label,
        first_runs=list(first.spec.runs),
        second_runs=list(second.spec.runs),
        layers=first.layers,
        published_layers=first.spec.published_layers,
        difference=round(100 * difference, 4),
        low=round(100 * interval.low, 4),
        high=round(100 * interval.high, 4),
        published_difference=_published_difference(first, second),
        p_value=p_value,
        p_adjusted=p_adjusted,
        verdict=mean_verdict(difference, p_adjusted),
        perplexity=_perplexity_order(first, second),
        tasks=_task_tests(first, second),
    )


def _task_tests(first: ScoredRow, second: ScoredRow) -> list[TaskTest]:
    """Exact McNemar tests between single runs, sign-flip tests if a row has several seeds."""
    ones, twos = first.answers, second.answers
    single = len(first.results) == len(second.results) == 1
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


def _perplexity_order(first: ScoredRow, second: ScoredRow) -> PerplexityOrder | None:
    if first.loss is None or second.loss is None:
        return None
    one, two = _loss_by_seed(first), _loss_by_seed(second)
    seeds = [(seed, seed) for seed in one] if one.keys() == two.keys() else [*product(one, two)]
    return PerplexityOrder(
        loss_first=first.loss,
        loss_second=second.loss,
        right=sum(one[a] < two[b] for a, b in seeds),
        pairs=len(seeds),
        verdict=HOLDS if first.loss < second.loss else FAILS,
    )


def _loss_by_seed(row: ScoredRow) -> dict[int, float]:
    pairs = zip(row.runs, row.results, strict=True)
    return {run.seed: result.loss for run, result in pairs if result.loss is not None}


def _published_difference(first: ScoredRow, second: ScoredRow) -> float | None:
    if first.published is None or second.published is None:
        return None
    one, two = (row.published.average_over(row.tasks) for row in (first, second) if row.published)
    return None if one is None or two is None else round(one - two, 4)


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
        difference, interval = paired_difference(
            *({task: one.answers[task] for task in tasks} for one in (row, reference))
        )
        found[name] = order_verdict(ours - theirs, difference, interval)
    return found


def order_verdict(published: float, difference: float, interval: Interval) -> str:
    """Compare the sign of a difference with the paper's; `TIED` if its sign is unresolved."""
    if not interval.excludes_zero():
        return TIED
    return SAME_ORDER if (published > 0) == (difference > 0) else OPPOSITE_ORDER
