"""One score of a row of a table, with its interval, its spread over seeds and what is published."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemon.perplexity import perplexity_of
from lemon.reporting.facts.statistics import Interval

HELDOUT = "heldout"
BITS, SHARE = "answer_bits_per_byte", "answer_share"  # metrics of a task beside its accuracy
LOSS, CALIBRATED_LOSS = "loss", "calibrated_loss"  # of held-out text, in nats per token
# Metrics of held-out text in the CSV.
HELDOUT_METRICS = (LOSS, "perplexity", "calibrated_perplexity", "temperature")

ByTask = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Score:
    """A score of a row, with the CSV's column names; accuracies and shares are percent.

    Attributes:
        task: the lm-eval task, `average` for the unweighted mean over tasks, or `heldout`.
        metric: a task's metric or `mean`, `BITS`, `SHARE`; or one of `HELDOUT_METRICS`.
        value: None if the row was not run.
        ci_low, ci_high: the 95 % interval over documents.
        n: documents, or predicted tokens of the held-out text.
        seed_sd: the sample standard deviation over seeds; None for a single seed.
        published_recomputed: for the average, the mean of the printed cells.
        delta: value minus published.
    """

    task: str
    metric: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    seed_sd: float | None = None
    published: float | None = None
    published_recomputed: float | None = None
    delta: float | None = None

    def named(self, value: str, low: str, high: str) -> dict[str, float | None]:
        """The value and the ends of its interval, by these names."""
        return {value: self.value, low: self.ci_low, high: self.ci_high}


def rounded(value: float | None) -> float | None:
    """To four decimals."""
    return None if value is None else round(value, 4)


def ends(interval: Interval, scale: float = 1.0) -> tuple[float, float]:
    """Both ends of an interval, scaled and to four decimals."""
    return round(scale * interval.low, 4), round(scale * interval.high, 4)


def as_perplexity(loss: Score, metric: str) -> Score:
    """The score of a loss as a perplexity; its spread over seeds stays with the loss."""
    low, value, high = (
        None if end is None else six_digits(perplexity_of(end))
        for end in (loss.ci_low, loss.value, loss.ci_high)
    )
    return Score(loss.task, metric, value, low, high, n=loss.n)


def six_digits(value: float) -> float:
    """To six significant digits."""
    return float(f"{value:.6g}")
