"""Agreement of two similarity maps: over pairs of layers, and over relative distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lemon.similarity.layer_pairs import (
    PERMUTATIONS,
    Floats,
    checked_index,
    checked_map,
    mantel,
    mean_by_distance,
    pearson,
    spearman,
)


@dataclass(frozen=True)
class MapCorrelation:
    """Rank correlation of two maps over `num_pairs` pairs of layers.

    `spearman_p_value` is one-sided, of a correlation at least as high with shuffled layers.
    """

    spearman: float
    spearman_p_value: float
    num_pairs: int


@dataclass(frozen=True)
class RelativeProfiles:
    """Distance profiles of two maps over the relative distance of two layers.

    Attributes:
        depths: distance / (L - 1): the smaller map's values within the range of the other map.
        first, second: mean similarity of each map there, linearly interpolated.
        correlation, largest_difference: Pearson correlation and largest absolute difference of
            `first` and `second`.
    """

    depths: Floats
    first: Floats
    second: Floats
    correlation: float
    largest_difference: float


def map_correlation(
    a: ArrayLike,
    b: ArrayLike,
    index: Sequence[int] | None = None,
    *,
    permutations: int = PERMUTATIONS,
) -> MapCorrelation:
    """Rank correlation of two maps over pairs of layers, with Mantel's test shuffling `a`.

    Args:
        a, b: [L, L] and [M, M].
        index: [L], for each layer of `a` the layer of `b` that it is compared to, in any order
            (for a target layer its dominant source layer); by default that of the same number.
            Pairs of `a` with one layer of `b` are excluded.
        permutations: of the test.

    Raises:
        ValueError: an invalid map, an index that does not fit them, or fewer than three pairs.
    """
    first, second = checked_map(a), checked_map(b)
    chosen = checked_index(range(len(second)) if index is None else index, len(second))
    if len(chosen) != len(first):
        raise ValueError(f"{len(chosen)} layers of b are compared to {len(first)} layers of a")
    rows, columns = np.triu_indices(len(first), 1)
    differ = chosen[rows] != chosen[columns]
    rows, columns = rows[differ], columns[differ]
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} pairs of layers are too few; at least 3 are needed")
    expected = second[chosen[rows], chosen[columns]]

    correlation, p_value = mantel(
        first,
        lambda shuffled: spearman(shuffled[rows, columns], expected),
        positive=True,
        permutations=permutations,
    )
    return MapCorrelation(correlation, p_value, len(rows))


def relative_depth_profiles(a: ArrayLike, b: ArrayLike) -> RelativeProfiles:
    """Compare the distance profiles of maps of different depth.

    They are compared at the smaller map's distances, so that no value is counted twice.

    Raises:
        ValueError: an invalid map, fewer than three common distances, or a constant profile.
    """
    maps = [checked_map(a), checked_map(b)]
    profiles = [mean_by_distance(map) for map in maps]
    depths = [np.arange(1, len(map)) / (len(map) - 1) for map in maps]
    grid = min(depths, key=len)
    grid = grid[grid >= max(depth[0] for depth in depths) - 1e-12]
    if len(grid) < 3:
        raise ValueError(f"{len(grid)} distances in common; at least 3 are needed")
    first, second = (np.interp(grid, x, y) for x, y in zip(depths, profiles, strict=True))
    difference = float(np.abs(first - second).max())
    return RelativeProfiles(grid, first, second, pearson(first, second), difference)
