"""The parts of a claim: each test that bears on it, read from the manifest of its table or figure.

A comparison of rows is judged on the measure that claims.csv names for the claim. The other
measures can contradict it, and then the verdict depends on the measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lemon.files.json_file import checked
from lemon.files.manifest import REMAKE
from lemon.reporting.claims.measures import MeasureTest
from lemon.reporting.claims.orderings import OrderingTest
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    NOT_TESTED,
    UNRESOLVED,
    pair_in_words,
)
from lemon.reporting.facts.evidence import EntryEvidence, Evidence
from lemon.reporting.facts.scores import CALIBRATED_LOSS

DEPENDS = "depends"
RESOLVED = {HOLDS, FAILS}
SIGN_FLIP = "sign-flip test"
TWO_ONE_SIDED = "two one-sided tests"
OF_FIGURE = "as the figure measures it"


@dataclass(frozen=True)
class Part:
    """One test that bears on a claim.

    Attributes:
        entry: the table or figure.
        found: the verdict on its measure, one of `lemon.reporting.claims.verdict`.
        test: how it was tested; empty below the floor.
        measure: by which it is judged; None for a figure's finding.
        effect: the test on that measure; None for a figure's finding and below the floor.
        measured: a figure's finding in words, or what else is to be said of the part.
        reason: why it has no verdict; empty if it has one.
        others: verdicts on the other measures.
        compared: the runs, the one expected to be better first; empty for a figure.
        layers: of the first model; None for a figure.
        seeds: the fewest seeds of a row that depends on random numbers; None if none does.
        trained: whether a row took optimiser steps.
    """

    entry: str
    found: str
    test: str
    measure: str | None = None
    effect: MeasureTest | None = None
    measured: str = ""
    reason: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    compared: str = ""
    layers: int | None = None
    seeds: int | None = None
    trained: bool = True

    @property
    def seeds_disagree(self) -> bool:
        """Whether only the seeds leave it unresolved: the documents resolve the means."""
        return self.effect is not None and self.found != self.effect.verdict

    @property
    def verdict(self) -> str:
        """That on its measure; `DEPENDS` if another measure shows the opposite."""
        opposite = RESOLVED - {self.found} if self.found in RESOLVED else set()
        return DEPENDS if opposite & {*self.others.values()} else self.found

    @property
    def may_be_scale(self) -> bool:
        """Whether it holds, and calibrated loss does not resolve it."""
        return self.verdict == HOLDS and self.others.get(CALIBRATED_LOSS) == UNRESOLVED


def orderings(entry: EntryEvidence) -> list[OrderingTest]:
    """The tested orderings of a table, as its manifest has them.

    Raises:
        BadInput: one lacks a value or has one of another type.
    """
    return [checked(one, OrderingTest, str(entry.manifest), REMAKE) for one in entry.comparisons]


def parts_of(claim: str, measure: str, entry: EntryEvidence, evidence: Evidence) -> list[Part]:
    """What a made table or figure says of a claim, one part for each comparison or finding."""
    found = [
        Part(
            entry.name,
            one["verdict"] or NOT_TESTED,
            "" if one["verdict"] == BELOW_FLOOR else OF_FIGURE,
            measured="" if one["verdict"] == BELOW_FLOOR else one["measured"],
        )
        for one in entry.findings
        if one["claim"] == claim
    ]
    tests = [test for test in orderings(entry) if test.claim == claim]
    return found + [part_of(test, measure, entry.name, evidence) for test in tests]


def part_of(test: OrderingTest, measure: str, entry: str, evidence: Evidence) -> Part:
    """The verdict of a comparison on `measure`, against which the others may speak."""
    own, over = test.measures.get(measure), pair_in_words(vars(test))
    below = test.untested == BELOW_FLOOR
    return Part(
        entry=entry,
        found=verdict_over_seeds(own) if own else NOT_TESTED,
        test="" if below else TWO_ONE_SIDED if test.equivalent else SIGN_FLIP,
        measure=measure,
        effect=None if below else own,
        reason=test.not_tested or ("" if own else "the models have no score on the measure"),
        others={
            name: verdict_over_seeds(one) for name, one in test.measures.items() if name != measure
        },
        compared=over.replace(" over ", " = ") if test.equivalent else over,
        layers=test.layers,
        seeds=fewest_seeds(test, evidence),
        trained=not evidence.trained.isdisjoint([*test.first_runs, *test.second_runs]),
    )


def verdict_over_seeds(test: MeasureTest) -> str:
    """The verdict on a measure; not resolved where one row is better with some seeds alone."""
    disagree = test.margin is None and 0 < test.right < test.pairs
    return UNRESOLVED if disagree and test.verdict in RESOLVED else test.verdict


def fewest_seeds(test: OrderingTest, evidence: Evidence) -> int | None:
    """The fewest runs of a row that depends on random numbers; None if no row does."""
    drawn = [runs for runs in _rows(test) if not evidence.drawn.isdisjoint(runs)]
    return min(map(len, drawn), default=None)


def _rows(test: OrderingTest) -> list[list[str]]:
    """The runs of each row; the runs of the two rows of a gain follow one another."""
    if not test.gains:
        return [test.first_runs, test.second_runs]
    rows = []
    for runs, (_, second) in zip((test.first_runs, test.second_runs), test.gains, strict=True):
        place = runs.index(second)
        rows += [runs[:place], runs[place:]]
    return rows
