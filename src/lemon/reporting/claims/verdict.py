"""Verdicts on claims, and findings: measured statements with a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lemon.published.tables import published_claims
from lemon.reporting.facts.statistics import LEVEL

HOLDS, FAILS, UNRESOLVED = "holds", "does not hold", "not resolved"

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One measured statement of a figure, in words.

    `claim` is the id of the paper's claim; it and `verdict` are None for a statement of ours.
    """

    claim: str | None
    statement: str
    measured: str
    verdict: str | None

    def in_words(self) -> str:
        """The claim, its verdict and the measurement, as Markdown."""
        named = ", ".join(filter(None, (self.claim, self.statement)))
        return f"{named}: " + (f"**{self.verdict}**; " if self.verdict else "") + self.measured


def findings(
    facts: T, claims: Iterable[str], measures: Mapping[str, Callable[[T], tuple[str, str]]]
) -> list[Finding]:
    """A finding for each claim; `measures` has the functions that return words and verdict."""
    known = published_claims()
    return [Finding(claim, known[claim]["claim"], *measures[claim](facts)) for claim in claims]


def mean_verdict(difference: float, p_adjusted: float) -> str:
    """The verdict on "first minus second is positive", by its adjusted p-value."""
    if p_adjusted >= LEVEL:
        return UNRESOLVED
    return HOLDS if difference > 0 else FAILS


def ordering_in_words(test: dict[str, Any]) -> str:
    """The verdicts on an ordering, from the manifest of its table."""
    words = f"{test['verdict']} on the mean"
    return words + (
        f", {test['perplexity']['verdict']} in perplexity" if test["perplexity"] else ""
    )


def agreed(verdicts: list[str]) -> str:
    """The common verdict of all estimators; unresolved if they differ."""
    return verdicts[0] if len(set(verdicts)) == 1 else UNRESOLVED
