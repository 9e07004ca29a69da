"""Intervals of scores, and paired tests of differences between two models.

There are two sources of error. *Sampling*: the benchmark is a sample of documents; all intervals
here measure that. *Seeds*: a method draws random numbers; `seed_spread` measures that. All models
answer the same documents, so differences are tested in pairs.

Scores come in strata, tasks or text domains, which are fixed; a model's scores of a stratum are an
array [scores], for a method with several seeds of means over them. Accuracies are fractions in
[0, 1] here; tables print percent. A `Design` says how strata add up and which scores belong to one
document. What compares two models raises ValueError if their strata or numbers of scores differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

CONFIDENCE = 0.95
RESAMPLES = 10_000  # of the bootstrap
FLIPS = 10_000  # of the sign-flip test
PARTS = 10  # in which draws are made and used
SEED = 20_240  # fixed, so that tables are reproducible
FLIP_SEED = 20_241  # differs, so that p-values and intervals are drawn independently
LEVEL = 0.05  # significance level: a smaller p-value resolves a sign
ROUNDING = 9  # decimals in which means over seeds, such as thirds, are compared
POWER = 0.8
# In standard errors: the true difference that is resolved with POWER at LEVEL (2.80); and the
# margin within which two equal models are shown to be (2.93; Chow, Shao and Wang 2008, 3.2).
DETECTABLE = float(norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER))
SHOWN_EQUIVALENT = float(norm.ppf(1 - LEVEL) + norm.ppf(1 - (1 - POWER) / 2))

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
class Difference:
    """First minus second, with interval and standard error of the paired bootstrap."""

    estimate: float
    interval: Interval
    standard_error: float


@dataclass(frozen=True)
class Design:
    """How scores add up, and which are drawn together.

    Attributes:
        weights: share of each stratum in the mean, summing to one; None if all count alike.
        documents: by stratum, the document of each score, [scores]: scores of one document are not
            independent and are drawn together. None if each score has a document of its own.
    """

    weights: Mapping[str, float] | None = None
    documents: Mapping[str, Sequence[int]] | None = None

    def over_strata(self, values: Mapping[str, Any]) -> Any:
        """The weighted mean over strata of numbers or arrays of one shape."""
        weights = self.weights or dict.fromkeys(values, 1 / len(values))
        return sum(weights[name] * value for name, value in values.items())

    def by_document(self, scores: Scores, stratum: str) -> NDArray[np.float64]:
        """The sum and the number of the scores of each document, [documents, 2]."""
        values = np.asarray(scores, dtype=np.float64)
        if self.documents is None:
            return np.stack([values, np.ones_like(values)], axis=1)
        _, document = np.unique(self.documents[stratum], return_inverse=True)
        return np.stack([np.bincount(document, values), np.bincount(document)], axis=1)


TASKS_ALIKE = Design()


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


def mean_interval(scores: Mapping[str, Scores], design: Design = TASKS_ALIKE) -> Interval:
    """The interval of the mean over strata: bootstrap over documents within each stratum.

    The strata are fixed, not sampled: the interval is valid for these tasks or domains only.
    """
    return _central(_resampled(scores, design))


def paired_difference(
    first: Mapping[str, Scores], second: Mapping[str, Scores], design: Design = TASKS_ALIKE
) -> Difference:
    """The difference (first minus second) of the means over strata.

    Documents are resampled within each stratum, both models' scores of a document together.
    """
    differences = _differences(first, second)
    means = _resampled(differences, design)
    error = float(means.std(ddof=1))
    return Difference(mean_over_strata(differences, design), _central(means), error)


def sign_flip_test(
    first: Mapping[str, Scores], second: Mapping[str, Scores], design: Design = TASKS_ALIKE
) -> float:
    """The two-sided p-value of the difference of the means over strata, by flipping signs.

    Under the null hypothesis the sign of the models' difference on each document is random (Fisher,
    1935). Of `FLIPS` draws of all signs, k have a mean at least as far from zero as the observed
    one; the p-value is (k + 1) / (FLIPS + 1), which is never zero and never too small (Phipson and
    Smyth, 2010, Statistical Applications in Genetics and Molecular Biology 9, 39). For 0/1 answers
    to one task the test approximates McNemar's exact test by sampling.

    The test is exact between two single runs. A mean over seeds and a single run are not
    exchangeable document by document; then it is valid for many documents, as the bootstrap is
    (Romano, 1990, Journal of the American Statistical Association 85, 686).
    """
    differences = _differences(first, second)
    flipped = _flipped(differences, design)
    return _share_beyond(np.abs(flipped), abs(mean_over_strata(differences, design)))


def equivalence_test(
    first: Mapping[str, Scores],
    second: Mapping[str, Scores],
    margin: float,
    design: Design = TASKS_ALIKE,
) -> float:
    """The p-value of whether the difference lies within the margin, or beyond it.

    For an observed difference within, the larger p-value of two one-sided tests, of a true
    difference above -margin and of one below margin (Schuirmann 1987). For one beyond, that of the
    one-sided test of a true difference beyond the margin, on the same side. Each shifts the
    differences by the margin and flips signs, valid for many documents (Romano 1990).
    """
    differences = _differences(first, second)
    estimate = mean_over_strata(differences, design)

    def one_sided(sign: int, shift: float) -> float:
        shifted = {name: sign * values + shift for name, values in differences.items()}
        return _share_beyond(_flipped(shifted, design), sign * estimate + shift)

    if abs(estimate) < margin:
        return max(one_sided(1, margin), one_sided(-1, margin))
    return one_sided(1 if estimate > 0 else -1, -margin)


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
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return list(adjusted.tolist())


def seed_spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation over seeds; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_over_strata(scores: Mapping[str, Scores], design: Design = TASKS_ALIKE) -> float:
    """The mean over strata of the means over scores."""
    return float(design.over_strata({name: np.mean(values) for name, values in scores.items()}))


def _differences(
    first: Mapping[str, Scores], second: Mapping[str, Scores]
) -> dict[str, NDArray[np.float64]]:
    if first.keys() != second.keys():
        raise ValueError(f"different tasks or domains: {sorted(first)} and {sorted(second)}")
    return {task: _difference(first[task], second[task]) for task in first}


def _difference(first: Scores, second: Scores) -> NDArray[np.float64]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"not the same documents: {a.size} and {b.size}")
    return a - b


def _central(means: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, 1 - (1 - CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def _share_beyond(flipped: NDArray[np.float64], observed: float) -> float:
    beyond = int((flipped > observed - 10.0**-ROUNDING).sum())
    return (beyond + 1) / (FLIPS + 1)


def _resampled(scores: Mapping[str, Scores], design: Design) -> NDArray[np.float64]:
    """Means over strata of `RESAMPLES` samples of the documents, [RESAMPLES]."""
    means = {}
    for name, values in scores.items():
        documents = design.by_document(values, name)
        sums, sizes = _products(_draws(name, len(documents)), documents).T
        means[name] = sums / sizes
    return np.asarray(design.over_strata(means))


def _flipped(differences: Mapping[str, Scores], design: Design) -> NDArray[np.float64]:
    """Means over strata under `FLIPS` draws of the signs of the documents' differences, [FLIPS]."""
    means = {}
    for name, values in differences.items():
        sums, sizes = design.by_document(values, name).T
        means[name] = _products(_signs(name, len(sums)), sums) / sizes.sum()
    return np.asarray(design.over_strata(means))


@cache
def _draws(stratum: str, documents: int) -> NDArray[np.uint8]:
    """How often each document is in each sample with replacement, [RESAMPLES, documents].

    The same for every pair of models. Each stratum has its own seed, so that strata are
    independent.
    """
    rng = np.random.default_rng([SEED, *stratum.encode()])
    alike = np.full(documents, 1 / documents)
    parts = (rng.multinomial(documents, alike, RESAMPLES // PARTS) for _ in range(PARTS))
    return np.concatenate([part.astype(np.uint8) for part in parts])


@cache
def _signs(stratum: str, documents: int) -> NDArray[np.int8]:
    """A random sign for each document, [FLIPS, documents]; seeds as of `_draws`."""
    rng = np.random.default_rng([FLIP_SEED, *stratum.encode()])
    return 2 * rng.integers(0, 2, size=(FLIPS, documents), dtype=np.int8) - 1


def _products(drawn: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`drawn` @ `values`, in parts, since floats take eight times the memory."""
    return np.concatenate([part @ values for part in np.split(drawn, PARTS)])
