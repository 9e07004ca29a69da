"""Intervals of scores, and paired tests of differences between two models.

There are two sources of error. *Sampling*: the benchmark is a sample of documents; all intervals
here measure that. *Seeds*: a method draws random numbers; `seed_spread` measures that. All models
answer the same documents, so differences are tested in pairs.

Scores are fractions in [0, 1] here; tables print percent. A model's answers to one task are an
array [documents] of 0 and 1, or of means over the seeds for a method with several seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 10_000  # of the bootstrap
FLIPS = 10_000  # of the sign-flip test
SEED = 20_240  # fixed, so that tables are reproducible
FLIP_SEED = 20_241  # differs, so that p-values and intervals are drawn independently
LEVEL = 0.05  # significance level: a smaller p-value resolves a sign
ROUNDING = 9  # decimals in which means over seeds, such as thirds, are compared

Scores = NDArray[np.floating] | NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the quantity is resolved."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class PairedTest:
    """Exact McNemar test of two models on the same documents of one task.

    `only_first` counts the documents that only the first model answers correctly.
    """

    only_first: int
    only_second: int
    p_value: float


def wilson_interval(correct: int, documents: int) -> Interval:
    """Wilson's score interval of an accuracy; reliable near 0 and 1 and for few documents."""
    interval = binomtest(correct, documents).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def accuracy_interval(scores: Scores) -> Interval:
    """The interval of a task's accuracy.

    Wilson's for 0/1 answers of one run; the bootstrap for means over seeds, which are no counts.
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isin(values, (0.0, 1.0)).all():
        return wilson_interval(int(values.sum()), values.size)
    return mean_interval({"task": values})


def mean_interval(scores: Mapping[str, Scores]) -> Interval:
    """The interval of the unweighted mean over tasks: bootstrap over documents within each task.

    The tasks are fixed, not sampled: the interval is valid for these tasks only.
    """
    means = np.mean([_resampled_means(values, task) for task, values in scores.items()], axis=0)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, 1 - (1 - CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def paired_difference(
    first: Mapping[str, Scores], second: Mapping[str, Scores]
) -> tuple[float, Interval]:
    """The difference (first minus second) of the means over tasks, with its paired interval.

    Documents are resampled within each task, both models' answers to a document together.

    Raises:
        ValueError: the tasks or their numbers of documents differ.
    """
    differences = _differences(first, second)
    estimate = float(np.mean([values.mean() for values in differences.values()]))
    return estimate, mean_interval(differences)


def sign_flip_test(first: Mapping[str, Scores], second: Mapping[str, Scores]) -> float:
    """The two-sided p-value of the difference of the means over tasks, by flipping signs.

    Under the null hypothesis the sign of the models' difference on each document is random (Fisher,
    1935). Of `FLIPS` draws of all signs, k have a mean over tasks at least as far from zero as the
    observed one; the p-value is (k + 1) / (FLIPS + 1), which is never zero and never too small
    (Phipson and Smyth, 2010, Statistical Applications in Genetics and Molecular Biology 9, 39). For
    0/1 answers to one task the test approximates McNemar's exact test by sampling.

    The test is exact between two single runs. A mean over seeds and a single run are not
    exchangeable document by document; then it is valid for many documents, as the bootstrap is
    (Romano, 1990, Journal of the American Statistical Association 85, 686).

    Raises:
        ValueError: the tasks or their numbers of documents differ.
    """
    differences = _differences(first, second)
    observed = abs(float(np.mean([values.mean() for values in differences.values()])))
    flipped = np.mean(
        [_flipped_means(values, task) for task, values in differences.items()], axis=0
    )
    as_far = int((np.abs(flipped) > observed - 10.0**-ROUNDING).sum())
    return (as_far + 1) / (FLIPS + 1)


def mcnemar(first: Scores, second: Scores) -> PairedTest:
    """The exact two-sided McNemar test: a binomial test on the documents where the models differ.

    Raises:
        ValueError: the answers are not 0/1, or of different numbers of documents.
    """
    difference = _difference(first, second)
    if not np.isin(difference, (-1.0, 0.0, 1.0)).all():
        raise ValueError("McNemar's test needs the 0/1 answers of single runs")
    only_first, only_second = int((difference > 0).sum()), int((difference < 0).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return PairedTest(only_first, only_second, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the given order; controls the family-wise error rate."""
    count, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, (count - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def seed_spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation over seeds; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _differences(
    first: Mapping[str, Scores], second: Mapping[str, Scores]
) -> dict[str, NDArray[np.float64]]:
    if first.keys() != second.keys():
        raise ValueError(f"different tasks: {sorted(first)} and {sorted(second)}")
    return {task: _difference(first[task], second[task]) for task in first}


def _difference(first: Scores, second: Scores) -> NDArray[np.float64]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"not the same documents: {a.size} and {b.size}")
    return a - b


def _resampled_means(values: Scores, task: str) -> NDArray[np.float64]:
    """Means of `RESAMPLES` samples of the documents, drawn with replacement; [RESAMPLES].

    The counts of distinct values are drawn (multinomial): the same distribution at a cost
    independent of the number of documents. Each task has its own seed, so that tasks are
    independent.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    rng = np.random.default_rng([SEED, *task.encode()])
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES)
    return drawn @ distinct / counts.sum()


def _flipped_means(differences: NDArray[np.float64], task: str) -> NDArray[np.float64]:
    """Means of the differences under `FLIPS` draws of their signs; [FLIPS].

    The number of plus signs for each magnitude is drawn (binomial), with seeds as the bootstrap's.
    """
    magnitudes, counts = np.unique(np.abs(differences).round(ROUNDING), return_counts=True)
    rng = np.random.default_rng([FLIP_SEED, *task.encode()])
    plus = rng.binomial(counts, 0.5, size=(FLIPS, counts.size))
    return (2 * plus - counts) @ magnitudes / counts.sum()
