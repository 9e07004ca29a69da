"""Statistics of a similarity map over depth: profiles over distance, neighbours, thirds.

A map is [L, L], symmetric, as `lemon cka` writes it; its diagonal is never used. Every function
raises ValueError for a map that is not square, symmetric and finite, or has fewer than three
layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemon.similarity.layer_pairs import (
    FLAT,
    PERMUTATIONS,
    Floats,
    checked_index,
    checked_map,
    excess_over_distance,
    mantel,
    mean_by_distance,
    pairs_above,
    spearman,
)


@dataclass(frozen=True)
class DistanceProfile:
    """Similarity by distance of two layers.

    Attributes:
        distances: 1, ..., L - 1.
        means: mean similarity at each distance.
        rank_correlation: Spearman correlation of similarity and distance over all pairs.
        p_value: one-sided, of a correlation at least as negative with shuffled layers.
        nearest_minus_farther: mean at distance 1 minus mean over all other pairs.
    """

    distances: NDArray[np.intp]
    means: Floats
    rank_correlation: float
    p_value: float
    nearest_minus_farther: float


@dataclass(frozen=True)
class NeighbourCurve:
    """Similarity of layers l and l + 1: `values` [L - 1], and the first `maximum` at `layer`."""

    values: Floats
    maximum: float
    layer: int


@dataclass(frozen=True)
class Thirds:
    """Mean similarity within thirds of the depth, and of the two end layers to all others.

    The thirds include the end layers, so a pair of an end layer and a layer of its third counts in
    both.

    Attributes:
        edges: first layer of the middle third, first layer of the deep third.
        first, middle, deep: mean within each third.
        first_layer, last_layer: mean of layer 0, or L - 1, with every other layer.
        ends: mean over the pairs of both end layers.
        ends_excess: `excess_over_distance` of the end layers' pairs; their distances to the rest
            are larger.
    """

    edges: tuple[int, int]
    first: float
    middle: float
    deep: float
    first_layer: float
    last_layer: float
    ends: float
    ends_excess: float


@dataclass(frozen=True)
class OffsetProfile:
    """Entries of a depth operator by offset: source layer minus the target's start layer.

    Attributes:
        offsets: ascending, without gaps.
        means: mean entry at each offset.
        negative: share of negative entries at each offset.
        counts: number of entries at each offset.
        rank_correlation: Spearman correlation of |offset| and mean; NaN if all means are equal.
    """

    offsets: NDArray[np.intp]
    means: Floats
    negative: Floats
    counts: NDArray[np.intp]
    rank_correlation: float


def random_floor(p: int, n: int) -> float:
    """Expected plain CKA of independent random matrices of n rows and p columns: p / (p + n).

    Raises:
        ValueError: a size is not positive.
    """
    if p < 1 or n < 1:
        raise ValueError(f"p = {p} and n = {n} are not both at least 1")
    return p / (p + n)


def distance_profile(map: ArrayLike, *, permutations: int = PERMUTATIONS) -> DistanceProfile:
    """Similarity over distance, with Mantel's test of a decrease.

    Raises:
        ValueError: an invalid map, or all its pairs are equally similar.
    """
    values = checked_map(map)
    means = mean_by_distance(values)
    distances = np.arange(1, len(values))
    counts = distances[::-1]
    apart = pairs_above(values)[1].astype(np.float64)
    correlation, p_value = mantel(
        values,
        lambda shuffled: spearman(pairs_above(shuffled)[0], apart),
        positive=False,
        permutations=permutations,
    )
    farther = float(means[1:] @ counts[1:] / counts[1:].sum())
    return DistanceProfile(distances, means, correlation, p_value, float(means[0]) - farther)


def neighbour_curve(map: ArrayLike) -> NeighbourCurve:
    """Similarity of successive layers, and where it is largest."""
    values = checked_map(map).diagonal(1).copy()
    layer = int(values.argmax())
    return NeighbourCurve(values, float(values[layer]), layer)


def thirds(map: ArrayLike) -> Thirds:
    """Similarity within contiguous thirds, whose sizes differ by at most one, and of end layers.

    Raises:
        ValueError: an invalid map, or fewer than six layers, so that a third has no pair.
    """
    values = checked_map(map, fewest=6)
    num_layers = len(values)
    edges = (round(num_layers / 3), round(2 * num_layers / 3))
    third = np.searchsorted(edges, np.arange(num_layers), side="right")
    rows, columns = np.triu_indices(num_layers, 1)
    inside = third[rows] == third[columns]
    with_first, with_last = rows == 0, columns == num_layers - 1
    with_end = with_first | with_last
    groups = [*(inside & (third[rows] == i) for i in range(3)), with_first, with_last, with_end]
    means = [float(values[rows[group], columns[group]].mean()) for group in groups]
    return Thirds(edges, *[*means, excess_over_distance(values, with_end)])


def offset_profile(gamma: ArrayLike, start_index: Sequence[int]) -> OffsetProfile:
    """Entries of a depth operator over the offset from the start layers of its rows.

    Args:
        gamma: [L2, L1]; subtract the start first to profile the learned change.
        start_index: [L2], the source layer that each target layer started from.

    Raises:
        ValueError: shapes do not fit, fewer than three source layers, or values not finite.
    """
    values = np.asarray(gamma, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 3:
        raise ValueError(f"gamma is [L2, L1] with at least 3 source layers, not {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("gamma holds values that are not finite")
    starts = checked_index(start_index, values.shape[1])
    if len(starts) != len(values):
        raise ValueError(f"{len(starts)} start indices for {len(values)} rows of gamma")
    by_entry = np.arange(values.shape[1]) - starts[:, None]
    offsets, place = np.unique(by_entry.ravel(), return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, weights=values.ravel()) / counts
    negative = np.bincount(place, weights=(values < 0).ravel()) / counts
    flat = np.ptp(means) <= FLAT * np.abs(means).max()
    correlation = np.nan if flat else spearman(np.abs(offsets).astype(np.float64), means)
    return OffsetProfile(offsets, means, negative, counts, correlation)
