"""The orderings that were tested, as a reader sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lemon.reporting.claims.orderings import FAILS, HOLDS, UNRESOLVED, OrderingTest, PerplexityOrder
from lemon.reporting.facts.outcomes import perplexity
from lemon.reporting.facts.statistics import FLIPS, LEVEL
from lemon.reporting.tables.cells import DASH, p_value, rounded_perplexity, signed


@dataclass(frozen=True)
class TaskCell:
    """A difference on one task in points, its adjusted p-value, and whether that resolves it."""

    difference: str
    p_adjusted: str
    resolved: bool


@dataclass(frozen=True)
class OrderingLine:
    """An ordering and its test in words; an empty string where there is nothing to say.

    `resolved` says whether the mean decides it, either way.
    """

    claim: str
    statement: str
    layers: str
    first: str
    second: str
    published: str
    difference: str
    interval: str
    p_value: str
    p_adjusted: str
    verdict: str
    resolved: bool
    perplexities: str
    seeds: str
    perplexity_verdict: str
    tasks: list[TaskCell]


@dataclass(frozen=True)
class OrderingGroup:
    """The orderings of the paper, or ours."""

    heading: str
    lines: list[OrderingLine]


@dataclass(frozen=True)
class Orderings:
    """Every ordering that was tested, what came out in all, and how to read it."""

    groups: list[OrderingGroup]
    counts: list[str]
    notes: list[str]
    task_note: str


def orderings(tests: list[OrderingTest]) -> Orderings:
    """Format the tests of a table: those that the paper has first."""
    published = [test for test in tests if test.is_of_paper]
    ours = [test for test in tests if not test.is_of_paper]
    groups = [("Orderings of the paper", published), ("Ours, not in the paper", ours)]
    return Orderings(
        groups=[OrderingGroup(name, [*map(_line, found)]) for name, found in groups if found],
        counts=_counts(published, ours),
        notes=_notes(tests),
        task_note=(
            "First minus second in points, and in brackets p after Holm over the tasks of the "
            "line: McNemar's exact test between single runs, flipped signs where a row has several "
            f"seeds. Bold: below {LEVEL}."
        ),
    )


def _line(test: OrderingTest) -> OrderingLine:
    published = "no number" if test.claim else ""
    if test.published_difference is not None:
        published = signed(test.published_difference)
        published += "" if test.is_published else " (not this way)"
    order = test.perplexity
    return OrderingLine(
        claim=test.claim or ("ours" if test.published_difference is None else DASH),
        statement=test.statement or "",
        layers=str(test.layers),
        first=test.first,
        second=test.second,
        published=published,
        difference=signed(test.difference),
        interval=f"[{signed(test.low)}, {signed(test.high)}]",
        p_value=p_value(test.p_value),
        p_adjusted=p_value(test.p_adjusted),
        verdict=test.verdict,
        resolved=test.verdict != UNRESOLVED,
        perplexities=_perplexities(order) if order else "",
        seeds=_seeds(test, order) if order else "",
        perplexity_verdict=order.verdict if order else "",
        tasks=[
            TaskCell(signed(task.difference), p_value(task.p_adjusted), task.p_adjusted < LEVEL)
            for task in test.tasks
        ],
    )


def _perplexities(order: PerplexityOrder) -> str:
    first, second = (
        rounded_perplexity(perplexity(loss)) for loss in (order.loss_first, order.loss_second)
    )
    return f"{first} against {second}"


def _seeds(test: OrderingTest, order: PerplexityOrder) -> str:
    """In how many seeds the first is lower; empty between single runs."""
    if order.pairs == 1:
        return ""
    most = max(len(test.first_runs), len(test.second_runs))
    return f"{order.right} of {order.pairs} {'seeds' if order.pairs == most else 'pairs of seeds'}"


def _counts(published: list[OrderingTest], ours: list[OrderingTest]) -> list[str]:
    """How many orderings came out how, a sentence for the paper's and one for ours."""
    tested = [test for test in published if test.is_published]
    sentences = []
    for found, kind in ((tested, "published ordering"), (ours, "ordering of ours")):
        if found:
            plural = kind.replace("ordering", "orderings") if len(found) > 1 else kind
            mean = _tally((test.verdict for test in found), (HOLDS, FAILS, UNRESOLVED))
            losses = [test.perplexity.verdict for test in found if test.perplexity]
            sentence = f"Of {len(found)} {plural} tested: on the task mean {mean}"
            if losses:
                sentence += f"; in held-out perplexity {_tally(losses, (HOLDS, FAILS))}"
            sentences.append(sentence + ".")
    other = len(published) - len(tested)
    if other:
        verb = "ordering is" if other == 1 else "orderings are"
        sentences.append(
            f"{other} more {verb} not so in the paper on these tasks and not counted as published."
        )
    return sentences


def _tally(verdicts: Iterable[str], known: tuple[str, ...]) -> str:
    """`2 hold, 1 does not, 7 are not resolved`."""
    count = Counter(verdicts)
    words = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not", "do not"),
        UNRESOLVED: ("is not resolved", "are not resolved"),
    }
    return ", ".join(f"{count[name]} {words[name][count[name] != 1]}" for name in known)


def _notes(tests: list[OrderingTest]) -> list[str]:
    if not tests:
        return []
    count = len(tests)
    notes = [
        "Each line tests whether the first row beats the second on the same documents. Here: the "
        "difference of the means over tasks in points, with the 95 % interval of the paired "
        "bootstrap. p is that of the two-sided sign-flip test of this difference "
        f"({FLIPS:,} drawings, signs flipped within each task). Claims are numbered as in the "
        "published claims.csv.",
        f"After Holm: p adjusted for all {count} orderings of this table, taken as one family. "
        f"Below {LEVEL} an ordering holds, or does not, by the sign of the difference; otherwise "
        "it is not resolved.",
        'An interval can exclude zero where the verdict is "not resolved": it stands for its line '
        "alone, and among many lines some exclude zero by chance. The adjusted p allows for their "
        "number.",
        "Perplexity is compared as it is, without a test.",
    ]
    if any(len(test.first_runs) > 1 or len(test.second_runs) > 1 for test in tests):
        notes[-1] += (
            " That of several seeds is the geometric mean, and it is counted in how many seeds "
            "the first is lower."
        )
        notes.append(
            "A row of several seeds enters the tests with each document's score averaged over "
            "them. The tests are about documents, for the models as they are; how much seeds "
            "differ is the ± of the table above."
        )
    return notes
