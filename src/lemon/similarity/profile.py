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
    SEED,
    Floats,
    checked_index,
    checked_map,
    distances,
    mantel,
    mean_by_distance,
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
    """Similarity of layers l and l + 1.

    Attributes:
        values: [L - 1], entry l for the pair (l, l + 1).
        maximum: the largest value.
        layer: the first l with the largest value.
    """

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
        ends_excess: mean over the end layers' pairs of similarity minus the mean of the other pairs
            at the same distance, where there are any; this corrects for the larger distance of
            end layers to the rest.
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
    """Expected plain CKA of independent random n x p matrices, about p / (p + n).

    Args:
        p: columns (units).
        n: rows (residual coordinates).

    Raises:
        ValueError: a size is not positive.
    """
    if p < 1 or n < 1:
        raise ValueError(f"p = {p} and n = {n} are not both at least 1")
    return p / (p + n)


def distance_profile(
    map: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = SEED
) -> DistanceProfile:
    """Similarity over distance, with Mantel's test of a decrease.

    Raises:
        ValueError: an invalid map, or all its pairs are equally similar.
    """
    values = checked_map(map)
    num_layers = len(values)
    means, counts = mean_by_distance(values)
    above = np.triu_indices(num_layers, 1)
    apart = distances(num_layers)[above].astype(np.float64)
    correlation, p_value = mantel(
        values,
        lambda shuffled: spearman(shuffled[above], apart),
        positive=False,
        permutations=permutations,
        seed=seed,
    )
    farther = float(means[1:] @ counts[1:] / counts[1:].sum())
    return DistanceProfile(
        distances=np.arange(1, num_layers),
        means=means,
        rank_correlation=correlation,
        p_value=p_value,
        nearest_minus_farther=float(means[0]) - farther,
    )


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
    pairs, apart = values[rows, columns], columns - rows
    inside = third[rows] == third[columns]
    with_first, with_last = rows == 0, columns == num_layers - 1
    with_end = with_first | with_last

    excess = [
        pair - pairs[~with_end & (apart == distance)].mean()
        for pair, distance in zip(pairs[with_end], apart[with_end], strict=True)
        if distance <= num_layers - 3  # the largest distance without end layers
    ]
    return Thirds(
        edges=edges,
        first=float(pairs[inside & (third[rows] == 0)].mean()),
        middle=float(pairs[inside & (third[rows] == 1)].mean()),
        deep=float(pairs[inside & (third[rows] == 2)].mean()),
        first_layer=float(pairs[with_first].mean()),
        last_layer=float(pairs[with_last].mean()),
        ends=float(pairs[with_end].mean()),
        ends_excess=float(np.mean(excess)),
    )


def offset_profile(gamma: ArrayLike, start_index: Sequence[int]) -> OffsetProfile:
    """Entries of a depth operator over the offset from the start layers of its rows.

    Args:
        gamma: [L2, L1], weights of source layers in target layers; subtract the start first to
            profile the learned change.
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
    offsets, place = np.unique(by_entry, return_inverse=True)
    place = place.ravel()
    counts = np.bincount(place)
    means = np.bincount(place, weights=values.ravel()) / counts
    return OffsetProfile(
        offsets=offsets,
        means=means,
        negative=np.bincount(place, weights=(values < 0).ravel()) / counts,
        counts=counts,
        rank_correlation=spearman(np.abs(offsets).astype(np.float64), means)
        if np.ptp(means) > FLAT * np.abs(means).max()
        else float("nan"),
    )
