"""Agreement of two similarity maps: over pairs of layers, and over relative distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lemon.similarity.layer_pairs import (
    PERMUTATIONS,
    SEED,
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
    """Agreement of two maps over their pairs of layers.

    Attributes:
        spearman: rank correlation.
        spearman_p_value: one-sided, of a correlation at least as high with shuffled layers.
        num_pairs: number of compared pairs.
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
        correlation: Pearson correlation of `first` and `second`.
        largest_difference: largest absolute difference of `first` and `second`.
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
    seed: int = SEED,
) -> MapCorrelation:
    """Rank correlation of two maps over pairs of layers, with Mantel's test shuffling `a`.

    Args:
        a: [L, L].
        b: [M, M].
        index: for each layer of `a` the layer of `b` that it is compared to (the dominant source
            layer of a target layer), in any order; pairs of `a` with the same layer of `b` are
            excluded. By default layer i is compared to layer i.
        permutations: number of permutations of the test.
        seed: seed of the test.

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
        seed=seed,
    )
    return MapCorrelation(correlation, p_value, len(rows))


def relative_depth_profiles(a: ArrayLike, b: ArrayLike) -> RelativeProfiles:
    """Compare the distance profiles of maps of different depth.

    They are compared at the smaller map's distances, so that no value is counted twice.

    Raises:
        ValueError: an invalid map, fewer than three common distances, or a constant profile.
    """
    maps = [checked_map(a), checked_map(b)]
    profiles = [mean_by_distance(map)[0] for map in maps]
    depths = [np.arange(1, len(map)) / (len(map) - 1) for map in maps]
    grid = min(depths, key=len)
    grid = grid[grid >= max(depth[0] for depth in depths) - 1e-12]
    if len(grid) < 3:
        raise ValueError(f"{len(grid)} distances in common; at least 3 are needed")
    first, second = (np.interp(grid, x, y) for x, y in zip(depths, profiles, strict=True))
    return RelativeProfiles(
        depths=grid,
        first=first,
        second=second,
        correlation=pearson(first, second),
        largest_difference=float(np.abs(first - second).max()),
    )
