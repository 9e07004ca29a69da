"""The sections of tested orderings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from lemon.reporting.claims.measures import MEASURES, Measure, MeasureTest
from lemon.reporting.claims.orderings import OrderingTest
from lemon.reporting.claims.verdict import BELOW_FLOOR, FAILS, HOLDS, NOT_TESTED, UNRESOLVED
from lemon.reporting.facts.statistics import FLIPS, LEVEL
from lemon.reporting.numbers import DASH, p_value, percent, signed
from lemon.reporting.tables.document import Cell, Column, Group, Section, numbers, words

EQUIVALENT = "="  # between two rows that are tested for being equally good
TASK_NOTE = (
    "Accuracy: first minus second in points, and in brackets p after Holm over the tasks of the "
    "line, of McNemar's exact test between single runs and of flipped signs where a row has "
    f"several seeds. Bold: below {LEVEL}."
)


def ordering_sections(tests: list[OrderingTest], task_names: list[str]) -> list[Section]:
    """The tests of a table by measure, then accuracy by task; the paper's orderings come first.

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
                *numbers("Paper, points"),
                *(
                    column
                    for measure in MEASURES
                    for column in (*numbers(measure.heading), *words(f"On {measure.words}"))
                ),
            ],
            _grouped(tests, _line),
            note=" ".join([*counts(tests), *resolved(tests)]),
            points=_notes(tests),
        ),
        Section(
            "Task by task",
            [
                Column("Layers"),
                *words("First > second", wrap=True),
                *numbers(*task_names, "Tasks ahead"),
            ],
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
            ("Orderings of the paper's claims and numbers", True),
            ("Orderings of ours", False),
        )
    ]
    return [group for group in groups if group.lines]


def _line(test: OrderingTest) -> list[str | Cell]:
    published = "no number" if test.claim else ""
    if test.published_difference is not None:
        published = signed(test.published_difference)
        published += "" if test.is_published else " (opposite order)"
    claim = test.claim or ("ours" if test.published_difference is None else DASH)
    cells: list[str | Cell] = []
    for measure in MEASURES:
        found = test.measures.get(measure.name)
        cells += [_difference(found, measure), _verdict(found, measure)] if found else ["", ""]
    return [
        Cell(claim, hint=test.statement or ""),
        str(test.layers),
        _pair(test),
        published,
        *cells,
    ]


def _pair(test: OrderingTest) -> str:
    return f"{test.first} {EQUIVALENT if test.equivalent else '>'} {test.second}"


def _difference(test: MeasureTest, measure: Measure) -> Cell:
    """The difference with its interval, and for several seeds in how many the first is better."""
    value, low, high = (
        signed(number, measure.decimals) for number in (test.difference, test.low, test.high)
    )
    aside = f"[{low}, {high}]"
    if test.pairs > 1:
        aside += f", better in {test.right} of {test.pairs} pairs of seeds"
    return Cell(value, aside)


def _verdict(test: MeasureTest, measure: Measure) -> Cell:
    """A verdict, bold if it resolves the ordering; otherwise with what could have been shown."""
    verdict, p_adjusted = test.verdict, test.p_adjusted
    tone = verdict.replace(" ", "-")
    if p_adjusted is None:
        return Cell(verdict, tone=UNRESOLVED.replace(" ", "-"))
    p = p_value(p_adjusted)
    aside = f"p {p}" if p.startswith("<") else f"p = {p}"
    if verdict == UNRESOLVED:
        aside += f"; could show {test.detectable:.{measure.decimals}f}"
    return Cell(verdict, f"({aside})", strong=verdict != UNRESOLVED, tone=tone)


def _task_line(test: OrderingTest) -> list[str | Cell]:
    tasks = [
        Cell(signed(task.difference), f"({p_value(task.p_adjusted)})", task.p_adjusted < LEVEL)
        for task in test.tasks
    ]
    ahead = sum(task.difference > 0 for task in test.tasks)
    return [str(test.layers), _pair(test), *tasks, f"{ahead} of {len(test.tasks)}"]


def counts(tests: list[OrderingTest]) -> list[str]:
    """The numbers of verdicts, in one sentence for the paper's orderings and one for ours."""
    published = [test for test in tests if test.is_of_paper]
    tested = [test for test in published if test.is_published]
    ours = [test for test in tests if not test.is_of_paper]
    sentences = []
    for found, of_whom in ((tested, "of the paper's claims and numbers"), (ours, "of ours")):
        if found:
            noun = "orderings" if len(found) > 1 else "ordering"
            verdicts = [
                f"on {measure.words} {_tally(verdicts)}"
                for measure in MEASURES
                if (verdicts := _verdicts(found, measure))
            ]
            sentences.append(f"Of {len(found)} {noun} {of_whom}: {'; '.join(verdicts)}.")
    if other := len(published) - len(tested):
        verb = "ordering is" if other == 1 else "orderings are"
        sentences.append(
            f"{other} more {verb} not so in the paper on these tasks and not counted among them."
        )
    return sentences


def resolved(tests: list[OrderingTest]) -> list[str]:
    """How many of the tested orderings each measure resolves, in one sentence; none if untested."""
    shares = []
    for measure in MEASURES:
        verdicts = _verdicts([test for test in tests if test.untested is None], measure)
        if verdicts:
            count = sum(verdict != UNRESOLVED for verdict in verdicts)
            of_all = f"{count} of {len(verdicts)} ({percent(count / len(verdicts), 0)})"
            shares.append(f"{measure.words} {of_all}")
    return [f"Resolved, of those that are tested: {', '.join(shares)}."] if shares else []


def _verdicts(tests: list[OrderingTest], measure: Measure) -> list[str]:
    return [test.measures[measure.name].verdict for test in tests if measure.name in test.measures]


def _tally(verdicts: Iterable[str]) -> str:
    """`2 hold, 1 does not, 7 are not resolved, 1 is below the floor`."""
    count = Counter(verdicts)
    words = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not", "do not"),
        UNRESOLVED: ("is not resolved", "are not resolved"),
        BELOW_FLOOR: ("is below the floor", "are below the floor"),
        NOT_TESTED: ("is not tested", "are not tested"),
    }
    always = (HOLDS, FAILS, UNRESOLVED)
    return ", ".join(
        f"{count[name]} {words[name][count[name] != 1]}"
        for name in words
        if count[name] or name in always
    )


def _notes(tests: list[OrderingTest]) -> list[str]:
    notes = [
        "Each line tests whether the first row beats the second on the same documents: the "
        "difference, first minus second, of the means over tasks (of the mixture of domains for "
        "held-out loss), with the 95 % interval of the paired bootstrap. Of bits per byte and loss "
        "less is better: there the first leads where the difference is negative. Answer share is "
        "the right answer's percent of the probability of all choices, on the tasks that have "
        "choices. Calibrated loss is a model's at its best temperature, fitted on the tune text. "
        "The number of a claim is that in the published claims.csv.",
        "p is that of the two-sided sign-flip test of the difference "
        f"({FLIPS:,} random draws; signs are flipped by document, and all held-out sequences of "
        "one document together), after Holm over the tested orderings of this table; each measure "
        f"is a family of its own. Below {LEVEL} an ordering holds, or does not, by the sign of the "
        "difference; otherwise it is not resolved.",
        "Could show: the smallest true difference that these documents resolve with 80 % power at "
        "5 % in a single test, 2.8 standard errors. Where it is far larger than a difference of "
        "interest, not resolved says nothing.",
        'An interval can exclude zero where the verdict is "not resolved": it stands for its line '
        "alone, and among many lines some exclude zero by chance. The adjusted p allows for their "
        "number.",
    ]
    if any(test.below_floor for test in tests):
        notes.append(
            "Below the floor: neither model, at the temperature that suits it best, predicts the "
            "held-out text better than token frequencies alone (the unigram floor). Which of two "
            "such models is ahead says nothing of language, so no measure has a verdict."
        )
    notes += [
        f"{test.claim or 'Ours'}, {test.first} against {test.second}: {NOT_TESTED}, since "
        f"{test.not_tested}. The differences are shown all the same."
        for test in tests
        if test.not_tested
    ]
    if equals := [test for test in tests if test.equivalent]:
        notes.append(
            f"{EQUIVALENT} means equally good: the difference is less than a margin, by two "
            "one-sided tests; it does not hold if the difference is beyond. Margins, in the units "
            f"of the columns: {'; '.join(map(_margins, equals))}. Could show: the "
            "smallest margin that two equal models are shown to be within, 2.9 standard errors."
        )
    if any(test.gains for test in tests):
        notes.append(
            "A over B is by how much row A beats row B, document by document: such a line tests "
            "whether the first difference is larger than the second. It is below the floor if one "
            "of its pairs is."
        )
    rows = [
        runs for test in tests if not test.gains for runs in (test.first_runs, test.second_runs)
    ]
    if any(len(runs) > 1 for runs in rows):
        notes.append(
            "A row of several seeds enters the tests with each document's score averaged over "
            "them. The tests are about documents, for the models as they are; how much seeds "
            "differ is the ± of the table above."
        )
    return notes


def _margins(test: OrderingTest) -> str:
    margins = [
        f"{measure.words} {found.margin:g}"
        for measure in MEASURES
        if (found := test.measures.get(measure.name))
    ]
    return f"{test.first} against {test.second}: {', '.join(margins)}"
