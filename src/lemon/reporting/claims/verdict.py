"""Verdicts on claims, and findings: measured statements with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HOLDS, FAILS, UNRESOLVED = "holds", "does not hold", "not resolved"
# Of comparisons without a verdict: neither model predicts text better than token frequencies do;
# or the models are not what the claim is about.
BELOW_FLOOR, NOT_TESTED = "below the floor", "not tested at this preset"
MEASURES_IN_WORDS = {
    "accuracy": "accuracy",
    "answer_bits_per_byte": "answer bits per byte",
    "answer_share": "answer share",
    "loss": "held-out loss",
    "calibrated_loss": "calibrated loss",
}


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


def pair_in_words(test: dict[str, Any]) -> str:
    """The rows of a comparison by their first runs, from the manifest of its table.

    A gain has its two rows: `cut-50 to lemon-cut-50 over cut-75 to lemon-cut-75`.
    """
    if test.get("gains"):
        return " over ".join(f"{pair[1]} to {pair[0]}" for pair in test["gains"])
    return f"{test['first_runs'][0]} over {test['second_runs'][0]}"


def ordering_in_words(test: dict[str, Any]) -> str:
    """The verdicts on a comparison, from the manifest of its table.

    For example `holds on answer bits per byte and held-out loss, not resolved on accuracy`.
    """
    if "measures" not in test:
        return "no verdict: the table is of an earlier version, make it again"
    if test.get("not_tested"):
        return f"{NOT_TESTED}: {test['not_tested']}"
    if test.get("below_floor"):
        return BELOW_FLOOR
    measures: dict[str, list[str]] = {}
    for name in MEASURES_IN_WORDS:  # a manifest has its keys in another order
        if one := test["measures"].get(name):
            measures.setdefault(one["verdict"], []).append(MEASURES_IN_WORDS[name])
    words = (
        f"{verdict} on {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"
        for verdict, names in measures.items()
    )
    return "; ".join(words)
