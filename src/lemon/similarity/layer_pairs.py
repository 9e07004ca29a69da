"""Pairs of layers of a similarity map: means by distance, correlations.

A map is [L, L] float64, symmetric and finite, as the figures' facts have it; its diagonal is never
used. Pairs share layers, so they are not independent; p-values come from Mantel's permutation of
layers (Mantel 1967), which keeps that dependence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
FEWEST_LAYERS = 3
PERMUTATIONS = 999
SEED = 0  # fixed, so that figures are reproducible
FLAT = 1e-12  # relative spread below which values count as equal
TIE = 1e-12  # correlations that differ by less count as equal, to be robust to rounding


def pairs_above(map: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The entries of all pairs i < j, and their distances j - i, in the order of `triu_indices`."""
    rows, columns = _above(len(map))
    return map[rows, columns], columns - rows


@cache
def _above(num_layers: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(num_layers, 1)


def mean_by_distance(map: Floats) -> Floats:
    """Mean similarity at |i - j| = 1, ..., L - 1, [L - 1]."""
    return np.array([map.diagonal(distance).mean() for distance in range(1, len(map))])


def spread_by_distance(map: Floats) -> float:
    """Standard deviation of the pairs around the mean at their distance.

    The L - 1 subtracted means reduce the degrees of freedom.
    """
    pairs, apart = pairs_above(map)
    residuals = pairs - mean_by_distance(map)[apart - 1]
    return float(np.sqrt(np.square(residuals).sum() / (len(pairs) - (len(map) - 1))))


def excess_over_distance(map: Floats, chosen: NDArray[np.bool_]) -> float:
    """Mean over the chosen pairs of similarity minus the mean of the others at the same distance.

    `chosen` is in the order of `pairs_above`. Pairs without others at their distance do not count;
    NaN if none is left.
    """
    pairs, apart = pairs_above(map)
    excess = [
        pair - pairs[others].mean()
        for pair, distance in zip(pairs[chosen], apart[chosen], strict=True)
        if (others := ~chosen & (apart == distance)).any()
    ]
    return float(np.mean(excess)) if excess else float("nan")


def pearson(first: Floats, second: Floats) -> float:
    """Pearson correlation; ValueError if there are fewer than two values, or all are equal."""
    if len(first) < 2:
        raise ValueError("a correlation needs at least two pairs of values")
    centred = []
    for values in (first, second):
        spread = values - values.mean()
        if np.abs(spread).max() <= FLAT * np.abs(values).max():
            raise ValueError("all values are equal, so there is no correlation")
        centred.append(spread / np.linalg.norm(spread))
    return float(np.clip(centred[0] @ centred[1], -1.0, 1.0))


def spearman(first: Floats, second: Floats) -> float:
    """Rank correlation of two sequences, ties at their mean rank; raises as `pearson`."""
    pearson(first, second)  # raises for values that differ only by rounding
    return pearson(rankdata(first), rankdata(second))


def mantel(
    map: Floats, correlate: Callable[[Floats], float], *, positive: bool
) -> tuple[float, float]:
    """A correlation that is computed from a map, with its one-sided p-value by Mantel's test.

    It is (1 + count) / (1 + N), where count is the number of N maps with shuffled layers whose
    correlation is at least as high, or if not `positive` at least as low.
    """
    rng = np.random.default_rng(SEED)
    observed = correlate(map)
    sign = 1 if positive else -1
    orders = (rng.permutation(len(map)) for _ in range(PERMUTATIONS))
    shuffled = (correlate(map[np.ix_(order, order)]) for order in orders)
    count = sum(sign * correlation >= sign * observed - TIE for correlation in shuffled)
    return observed, (1 + count) / (1 + PERMUTATIONS)
