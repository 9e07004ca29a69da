"""The paper's claims put to a paired test: two runs that answered the same documents."""

from __future__ import annotations

from dataclasses import dataclass

from lemon.errors import BadInput
from lemon.presets import Project
from lemon.reporting.published import published_claims
from lemon.reporting.results import RunResult
from lemon.reporting.scores import ScoredRow, scored_rows
from lemon.reporting.statistics import Interval, holm, mcnemar, paired_difference

HOLDS, FAILS, UNRESOLVED = "holds", "does not hold", "not resolved"


@dataclass(frozen=True)
class TaskComparison:
    """Two runs on one task: their difference in points and the exact McNemar test of it.

    `p_value` is as computed, `p_adjusted` after Holm over the tasks of the comparison.
    """

    task: str
    difference: float
    only_first: int
    only_second: int
    p_value: float
    p_adjusted: float


@dataclass(frozen=True)
class ClaimTest:
    """A claim of the form "first beats second" and what the runs say about it.

    Attributes:
        claim, statement: id and words, from the published claims.
        first, second: labels of the rows; `first_run`, `second_run` their run ids.
        layers, published_layers: depth of the first model, here and in the paper.
        difference, low, high: first minus second of the mean over tasks, in points, with the
            95 % interval of the paired bootstrap.
        published_difference: the same from the paper's printed averages.
        verdict: about the mean: `HOLDS`, `FAILS`, or `UNRESOLVED` where the interval holds zero.
        loss_first, loss_second: held-out loss, nats per token.
        tasks: one comparison a task.
    """

    claim: str
    statement: str
    first: str
    second: str
    first_run: str
    second_run: str
    layers: int
    published_layers: int | None
    difference: float
    low: float
    high: float
    published_difference: float | None
    verdict: str
    loss_first: float | None
    loss_second: float | None
    tasks: list[TaskComparison]

    @property
    def perplexity_verdict(self) -> str | None:
        """Whether the first has the lower held-out loss; a plain comparison, without interval."""
        if self.loss_first is None or self.loss_second is None:
            return None
        return HOLDS if self.loss_first < self.loss_second else FAILS


def claim_tests(project: Project, table: str, results: dict[str, RunResult]) -> list[ClaimTest]:
    """Test every comparison that the table's registry entry names.

    Raises:
        BadInput: a comparison names a run that fills no row of the table.
    """
    spec = project.table(table)
    rows = scored_rows(project, table, results)
    row_of_run = {run: row for row in rows for run in row.spec.runs}
    for run in (run for pair in spec.comparisons for run in (pair.first, pair.second)):
        if run not in row_of_run:
            raise BadInput(
                f"{table}: a comparison names run {run!r}, which fills no row of the table; "
                "add it to a row in paper.yaml or drop the comparison"
            )
    claims = published_claims()
    return [
        _claim_test(
            pair.claim,
            claims[pair.claim]["claim"] if pair.claim in claims else "",
            (row_of_run[pair.first], results[pair.first]),
            (row_of_run[pair.second], results[pair.second]),
            tuple(spec.tasks),
        )
        for pair in spec.comparisons
    ]


def _claim_test(
    claim: str,
    statement: str,
    first: tuple[ScoredRow, RunResult],
    second: tuple[ScoredRow, RunResult],
    tasks: tuple[str, ...],
) -> ClaimTest:
    (first_row, one), (second_row, two) = first, second
    difference, interval = paired_difference(
        {task: one.correct[task] for task in tasks}, {task: two.correct[task] for task in tasks}
    )
    return ClaimTest(
        claim=claim,
        statement=statement,
        first=first_row.label,
        second=second_row.label,
        first_run=one.run,
        second_run=two.run,
        layers=first_row.layers,
        published_layers=first_row.spec.published_layers,
        difference=round(100 * difference, 4),
        low=round(100 * interval.low, 4),
        high=round(100 * interval.high, 4),
        published_difference=_published_difference(first_row, second_row),
        verdict=claim_verdict(interval),
        loss_first=one.loss,
        loss_second=two.loss,
        tasks=_task_comparisons(one, two, tasks),
    )


def claim_verdict(interval: Interval) -> str:
    """The claim "first minus second is positive" in the light of the difference's interval."""
    if not interval.excludes_zero():
        return UNRESOLVED
    return HOLDS if interval.low > 0 else FAILS


def _task_comparisons(
    one: RunResult, two: RunResult, tasks: tuple[str, ...]
) -> list[TaskComparison]:
    tests = [mcnemar(one.correct[task], two.correct[task]) for task in tasks]
    adjusted = holm([test.p_value for test in tests])
    return [
        TaskComparison(
            task=task,
            difference=round(100 * (one.accuracy(task) - two.accuracy(task)), 4),
            only_first=test.only_first,
            only_second=test.only_second,
            p_value=test.p_value,
            p_adjusted=p_adjusted,
        )
        for task, test, p_adjusted in zip(tasks, tests, adjusted, strict=True)
    ]


def _published_difference(first: ScoredRow, second: ScoredRow) -> float | None:
    if first.published is None or second.published is None:
        return None
    if first.published.average is None or second.published.average is None:
        return None
    return round(first.published.average - second.published.average, 4)
