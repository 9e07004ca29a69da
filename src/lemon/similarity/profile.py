"""Statistics over depth: of a similarity map (`layer_pairs`), and of a depth operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemon.similarity.layer_pairs import (
    FLAT,
    Floats,
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
        means: mean similarity at the distances 1, ..., L - 1.
        rank_correlation: Spearman correlation of similarity and distance over all pairs.
        p_value: one-sided, of a correlation at least as negative with shuffled layers.
        nearest_minus_farther: mean at distance 1 minus mean over all other pairs.
    """

    means: Floats
    rank_correlation: float
    p_value: float
    nearest_minus_farther: float


@dataclass(frozen=True)
class Thirds:
    """Mean similarity within thirds of the depth, and of the two end layers to all others.

    The thirds include the end layers, so a pair of an end layer and a layer of its third counts in
    both.

    Attributes:
        first, middle, deep: mean within each third.
        first_layer, last_layer: mean of layer 0, or L - 1, with every other layer.
        ends: mean over the pairs of both end layers.
        ends_excess: `excess_over_distance` of the end layers' pairs; their distances to the rest
            are larger.
    """

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


def distance_profile(map: Floats) -> DistanceProfile:
    """Similarity over distance, with Mantel's test of a decrease.

    ValueError if all pairs are equally similar.
    """
    means, apart = mean_by_distance(map), pairs_above(map)[1].astype(np.float64)
    counts = np.arange(len(map) - 1, 0, -1)  # pairs at each distance
    correlation, p_value = mantel(
        map, lambda shuffled: spearman(pairs_above(shuffled)[0], apart), positive=False
    )
    farther = float(means[1:] @ counts[1:] / counts[1:].sum())
    return DistanceProfile(means, correlation, p_value, float(means[0]) - farther)


def thirds(map: Floats) -> Thirds:
    """Similarity within contiguous thirds, whose sizes differ by at most one, and of end layers.

    A map has at least six layers, so that each third has a pair.
    """
    num_layers = len(map)
    edges = (round(num_layers / 3), round(2 * num_layers / 3))
    third = np.searchsorted(edges, np.arange(num_layers), side="right")
    rows, columns = np.triu_indices(num_layers, 1)
    inside = third[rows] == third[columns]
    with_first, with_last = rows == 0, columns == num_layers - 1
    with_end = with_first | with_last
    groups = [*(inside & (third[rows] == i) for i in range(3)), with_first, with_last, with_end]
    means = (float(map[rows[group], columns[group]].mean()) for group in groups)
    return Thirds(*[*means, excess_over_distance(map, with_end)])


def offset_profile(gamma: Floats, start_index: Sequence[int]) -> OffsetProfile:
    """Entries of a depth operator over the offset from the start layers of its rows.

    Args:
        gamma: [L2, L1]; subtract the start first to profile the learned change.
        start_index: [L2], the source layer that each target layer started from.
    """
    by_entry = np.arange(gamma.shape[1]) - np.asarray(start_index)[:, None]
    offsets, place = np.unique(by_entry.ravel(), return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, weights=gamma.ravel()) / counts
    negative = np.bincount(place, weights=(gamma < 0).ravel()) / counts
    flat = np.ptp(means) <= FLAT * np.abs(means).max()
    correlation = np.nan if flat else spearman(np.abs(offsets).astype(np.float64), means)
    return OffsetProfile(offsets, means, negative, counts, correlation)
