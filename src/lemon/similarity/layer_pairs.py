"""Pairs of layers of an [L, L] similarity map: checks, means by distance, correlations.

Pairs share layers, so they are not independent; p-values come from Mantel's permutation of layers
(Mantel 1967), which keeps that dependence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
FEWEST_LAYERS = 3
ASYMMETRY = 1e-6  # tolerance for a map read from a file with eight decimals
PERMUTATIONS = 999
SEED = 0  # fixed, so that figures are reproducible
FLAT = 1e-12  # relative spread below which values count as equal
TIE = 1e-12  # correlations that differ by less count as equal, to be robust to rounding


def checked_map(map: ArrayLike, fewest: int = FEWEST_LAYERS) -> Floats:
    """A similarity map as [L, L] float64.

    Raises:
        ValueError: it is not square, finite and symmetric, or has fewer than `fewest` layers.
    """
    values = np.asarray(map, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"a similarity map is square, not {values.shape}")
    if len(values) < fewest:
        raise ValueError(f"{len(values)} layers are too few; at least {fewest} are needed")
    if not np.isfinite(values).all():
        raise ValueError("the similarity map holds values that are not finite")
    if np.abs(values - values.T).max() > ASYMMETRY * max(1.0, np.abs(values).max()):
        raise ValueError("the similarity map is not symmetric")
    return values


def checked_index(index: Sequence[int], num_layers: int) -> NDArray[np.intp]:
    """Layer indices as an array.

    Raises:
        ValueError: they are not a sequence of integers from 0 to `num_layers` - 1.
    """
    numbers = np.asarray(index)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError("layer indices must be a sequence of whole numbers")
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < num_layers):
        raise ValueError(f"layer indices must be from 0 to {num_layers - 1}")
    return numbers.astype(np.intp)


def distances(num_layers: int) -> NDArray[np.intp]:
    """|i - j| of every pair of layers, [L, L]."""
    index = np.arange(num_layers)
    return np.abs(index[:, None] - index)


def mean_by_distance(map: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Mean similarity and number of pairs at |i - j| = 1, ..., L - 1, [L - 1] each."""
    num_layers = len(map)
    means = [map.diagonal(distance).mean() for distance in range(1, num_layers)]
    return np.array(means), np.arange(num_layers - 1, 0, -1)


def residuals_by_distance(map: Floats) -> tuple[Floats, float]:
    """Residuals from the mean at each distance, [L, L], and their standard deviation.

    The diagonal is 0. The L - 1 subtracted means reduce the degrees of freedom.
    """
    num_layers = len(map)
    means, _ = mean_by_distance(map)
    residuals = map - np.concatenate(([0.0], means))[distances(num_layers)]
    np.fill_diagonal(residuals, 0.0)
    above = residuals[np.triu_indices(num_layers, 1)]
    freedom = len(above) - (num_layers - 1)
    return residuals, float(np.sqrt(np.square(above).sum() / freedom))


def pearson(first: Floats, second: Floats) -> float:
    """Pearson correlation of two sequences of values.

    Raises:
        ValueError: fewer than two values, or all values of one sequence are equal.
    """
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
    map: Floats,
    correlate: Callable[[Floats], float],
    *,
    positive: bool,
    permutations: int,
    seed: int,
) -> tuple[float, float]:
    """Mantel's permutation test of a correlation of a map.

    Args:
        map: [L, L], whose layers are shuffled.
        correlate: computes the correlation from a map.
        positive: whether the alternative is a positive correlation; negative otherwise.
        permutations: N, the number of shuffles.
        seed: seed of the shuffles.

    Returns:
        The correlation, and the one-sided p-value (1 + count) / (1 + N), where count is the number
        of shuffled maps whose correlation is at least as extreme.

    Raises:
        ValueError: `permutations` is below 1.
    """
    if permutations < 1:
        raise ValueError(f"{permutations} permutations; at least 1 is needed")
    rng = np.random.default_rng(seed)
    observed = correlate(map)
    sign = 1 if positive else -1
    count = 0
    for _ in range(permutations):
        order = rng.permutation(len(map))
        count += sign * correlate(map[np.ix_(order, order)]) >= sign * observed - TIE
    return observed, (1 + count) / (1 + permutations)
