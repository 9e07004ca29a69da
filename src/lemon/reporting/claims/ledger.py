"""One verdict for each claim, from all tests that bear on it (decision 0033).

A claim holds if every tested part of it holds. It does not hold if one fails and none holds. Where
some hold and some fail, or the measures contradict each other, the verdict depends on what tells
them apart. Otherwise it is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lemon.published.tables import published_claims
from lemon.reporting.claims.derived import DERIVED, UNTESTED
from lemon.reporting.claims.parts import DEPENDS, Part, parts_of
from lemon.reporting.claims.verdict import BELOW_FLOOR, FAILS, HOLDS, NOT_TESTED, UNRESOLVED
from lemon.reporting.facts.evidence import EntryEvidence, Evidence

UNDECIDED, UNTESTED_VERDICT = "undecided", "not tested"
VERDICTS = (HOLDS, DEPENDS, FAILS, UNDECIDED, BELOW_FLOOR, UNTESTED_VERDICT)
# What may tell apart the parts that hold from those that fail, the first that does so.
APART: dict[str, Callable[[Part], object]] = {
    "the depth": lambda part: part.layers,
    "the table": lambda part: part.entry,
    "the rows compared": lambda part: part.compared,
}


@dataclass(frozen=True)
class Judgement:
    """A claim and its verdict.

    Attributes:
        claim: its id.
        row: its line in claims.csv.
        verdict: one of `VERDICTS`.
        depends_on: what the verdict depends on; empty unless it is `DEPENDS`.
        parts: the tests that bear on it, those without a verdict included.
        reasons: why it is not tested, or not in a part, at this preset; of a part with its runs.
        waiting: tables and figures that bear on it and are not made, or made by an older version.
    """

    claim: str
    row: Mapping[str, str]
    verdict: str
    depends_on: str
    parts: tuple[Part, ...]
    reasons: tuple[str, ...]
    waiting: tuple[EntryEvidence, ...]

    @property
    def tested(self) -> list[Part]:
        """The parts with a verdict."""
        return [part for part in self.parts if part.verdict not in (BELOW_FLOOR, NOT_TESTED)]


def judgements(evidence: Evidence) -> list[Judgement]:
    """A verdict for every claim of claims.csv, in its order."""
    return [_judgement(claim, row, evidence) for claim, row in published_claims().items()]


def _judgement(claim: str, row: dict[str, str], evidence: Evidence) -> Judgement:
    reasons = [UNTESTED[claim]] if claim in UNTESTED else []
    if claim in DERIVED:
        parts, waiting = DERIVED[claim](row["measure"], evidence)
    else:
        parts, waiting = [], []
        for entry in evidence.entries:
            if claim in entry.not_tested:
                reasons.append(entry.not_tested[claim])
            elif claim in entry.claims:
                found = parts_of(claim, row["measure"], entry, evidence)
                parts += found
                waiting += [] if found else [entry]
    reasons += [
        f"{part.compared}: {part.reason}" if part.compared else part.reason
        for part in parts
        if part.reason
    ]
    verdict = verdict_of(parts)
    return Judgement(
        claim=claim,
        row=row,
        verdict=verdict,
        depends_on=told_apart(parts) if verdict == DEPENDS else "",
        parts=tuple(parts),
        reasons=tuple(dict.fromkeys(reasons)),
        waiting=tuple(waiting),
    )


def verdict_of(parts: list[Part]) -> str:
    """The one verdict that follows from those of the parts."""
    found = {part.verdict for part in parts} - {NOT_TESTED}
    if not found - {BELOW_FLOOR}:
        return BELOW_FLOOR if found else UNTESTED_VERDICT
    found -= {BELOW_FLOOR}
    if DEPENDS in found or found >= {HOLDS, FAILS}:
        return DEPENDS
    if FAILS in found:
        return FAILS
    return UNDECIDED if UNRESOLVED in found else HOLDS


def told_apart(parts: list[Part]) -> str:
    """What a verdict depends on: the measure, or what the failing parts have and the others not."""
    causes = ["the measure"] if any(part.verdict == DEPENDS for part in parts) else []
    sides = [[part for part in parts if part.verdict == side] for side in (HOLDS, FAILS)]
    if all(sides):
        causes += [
            name
            for name, of in APART.items()
            if {*map(of, sides[0])}.isdisjoint({*map(of, sides[1])})
        ][:1]
    return " and ".join(causes)
