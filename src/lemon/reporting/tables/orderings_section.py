"""The sections of tested orderings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from lemon.perplexity import perplexity_of
from lemon.reporting.claims.orderings import OrderingTest, PerplexityOrder
from lemon.reporting.claims.verdict import FAILS, HOLDS, UNRESOLVED
from lemon.reporting.facts.statistics import FLIPS, LEVEL
from lemon.reporting.numbers import DASH, p_value, rounded_perplexity, signed
from lemon.reporting.tables.document import Cell, Column, Group, Section, numbers, words

TASK_NOTE = (
    "First minus second in points, and in brackets p after Holm over the tasks of the line: "
    "McNemar's exact test between single runs, flipped signs where a row has several seeds. Bold: "
    f"below {LEVEL}."
)


def ordering_sections(tests: list[OrderingTest], task_names: list[str]) -> list[Section]:
    """The tests of a table on the mean, then by task; the paper's orderings come first.

    Without tests there is no section. `task_names` are the printed names, in the order of columns.
    """
    if not tests:
        return []
    return [
        Section(
            "Orderings, tested in pairs",
            [
                *words("Claim"),
                Column("Layers"),
                *words("First > second", wrap=True),
                *numbers("Paper", "Here, 95 % interval", "p", "After Holm"),
                *words("On the mean", "Perplexity", "In perplexity"),
            ],
            _grouped(tests, _line),
            note=" ".join(counts(tests)),
            points=_notes(tests),
        ),
        Section(
            "Task by task",
            [Column("Layers"), *words("First > second", wrap=True), *numbers(*task_names)],
            _grouped(tests, _task_line),
            note=TASK_NOTE,
            folded=True,
        ),
    ]


def _grouped(
    tests: list[OrderingTest], line: Callable[[OrderingTest], list[str | Cell]]
) -> list[Group]:
    groups = [
        Group(heading, [line(test) for test in tests if test.is_of_paper is of_paper])
        for heading, of_paper in (
            ("Orderings of the paper", True),
            ("Ours, not in the paper", False),
        )
    ]
    return [group for group in groups if group.lines]


def _line(test: OrderingTest) -> list[str | Cell]:
    published = "no number" if test.claim else ""
    if test.published_difference is not None:
        published = signed(test.published_difference)
        published += "" if test.is_published else " (opposite order)"
    order = test.perplexity
    claim = test.claim or ("ours" if test.published_difference is None else DASH)
    return [
        Cell(claim, hint=test.statement or ""),
        str(test.layers),
        f"{test.first} > {test.second}",
        published,
        Cell(signed(test.difference), f"[{signed(test.low)}, {signed(test.high)}]"),
        p_value(test.p_value),
        p_value(test.p_adjusted),
        _verdict(test.verdict),
        _perplexities(test, order) if order else "",
        _verdict(order.verdict, strong=False) if order else "",
    ]


def _verdict(verdict: str, *, strong: bool = True) -> Cell:
    """A verdict; bold if it resolves the ordering."""
    return Cell(verdict, strong=strong and verdict != UNRESOLVED, tone=verdict.replace(" ", "-"))


def _task_line(test: OrderingTest) -> list[str | Cell]:
    tasks = [
        Cell(signed(task.difference), f"({p_value(task.p_adjusted)})", task.p_adjusted < LEVEL)
        for task in test.tasks
    ]
    return [str(test.layers), f"{test.first} > {test.second}", *tasks]


def _perplexities(test: OrderingTest, order: PerplexityOrder) -> Cell:
    """Both perplexities, and for several seeds in how many the first is lower."""
    first, second = (
        rounded_perplexity(perplexity_of(loss)) for loss in (order.loss_first, order.loss_second)
    )
    most = max(len(test.first_runs), len(test.second_runs))
    seeds = f"{order.pairs} {'seeds' if order.pairs == most else 'pairs of seeds'}"
    aside = f"({order.right} of {seeds})" if order.pairs > 1 else ""
    return Cell(f"{first} against {second}", aside)


def counts(tests: list[OrderingTest]) -> list[str]:
    """The numbers of verdicts, in one sentence for the paper's orderings and one for ours."""
    published = [test for test in tests if test.is_of_paper]
    tested = [test for test in published if test.is_published]
    ours = [test for test in tests if not test.is_of_paper]
    sentences = []
    for found, kind in ((tested, "published ordering"), (ours, "ordering of ours")):
        if found:
            plural = kind.replace("ordering", "orderings") if len(found) > 1 else kind
            mean = _tally((test.verdict for test in found), (HOLDS, FAILS, UNRESOLVED))
            losses = [test.perplexity.verdict for test in found if test.perplexity]
            order = f"; in held-out perplexity {_tally(losses, (HOLDS, FAILS))}" if losses else ""
            sentences.append(f"Of {len(found)} {plural} tested: on the task mean {mean}{order}.")
    if other := len(published) - len(tested):
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
    notes = [
        "Each line tests whether the first row beats the second on the same documents. Here: the "
        "difference of the means over tasks in points, with the 95 % interval of the paired "
        "bootstrap. p is that of the two-sided sign-flip test of this difference "
        f"({FLIPS:,} random draws, signs flipped within each task). Claims are numbered as in the "
        "published claims.csv.",
        f"After Holm: p adjusted for all {len(tests)} orderings of this table, taken as one "
        f"family. Below {LEVEL} an ordering holds, or does not, by the sign of the difference; "
        "otherwise it is not resolved.",
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
