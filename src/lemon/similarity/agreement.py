"""Agreement of two similarity maps: over pairs of layers, and over relative distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemon.similarity.blocks import blocks
from lemon.similarity.layer_pairs import (
    FEWEST_LAYERS,
    PERMUTATIONS,
    Floats,
    checked_index,
    checked_map,
    excess_over_distance,
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


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, by the jackknife over layers; infinite if there are too few.

    Pairs of layers share layers, so layers and not pairs are left out, one at a time (Efron and
    Stein 1981: on average not smaller than the true standard error).
    """

    value: float
    standard_error: float


def likeness_gain(
    a: ArrayLike, control: ArrayLike, b: ArrayLike, index: Sequence[int], of_control: Sequence[int]
) -> Estimate:
    """How much higher `a` correlates with `b` than a control does, both as in `map_correlation`.

    Args:
        a, control: [L, L], maps of two models that were made from that of `b`, [M, M].
        index, of_control: [L], for each layer the layer of `b` that it is compared to.

    Raises:
        ValueError: as `map_correlation`, or the models differ in depth.
    """
    maps = [checked_map(a), checked_map(control)]
    if len(maps[0]) != len(maps[1]):
        raise ValueError(f"{len(maps[0])} and {len(maps[1])} layers; the depths must be equal")

    def gain(kept: list[int]) -> float:
        one, two = (
            spearman(*_compared(map[np.ix_(kept, kept)], b, np.asarray(chosen)[kept]))
            for map, chosen in zip(maps, (index, of_control), strict=True)
        )
        return one - two

    return _jackknife(gain, len(maps[0]))


def profile_gaps(a: ArrayLike, b: ArrayLike) -> list[Estimate]:
    """How far the maps of two models differ near, halfway and far over the relative distance.

    Pairs of layers are in thirds of their distance / (L - 1); the mean similarity of a third in `a`
    minus that in `b`.

    Raises:
        ValueError: an invalid map, or fewer than six layers.
    """
    by_map = [_by_third(checked_map(map, fewest=6)) for map in (a, b)]
    return [
        Estimate(one.value - two.value, math.hypot(one.standard_error, two.standard_error))
        for one, two in zip(*by_map, strict=True)
    ]


def block_excess_gap(a: ArrayLike, b: ArrayLike) -> Estimate:
    """How much more the blocks of one map stand out than those of another, of the same layers.

    The blocks of each map are found once, on the whole map. They stand out by `Blocks.excess`, or
    by 0 without a block. Distances are those among the layers that are not left out.

    Raises:
        ValueError: an invalid map, or the maps differ in size.
    """
    maps = [checked_map(a), checked_map(b)]
    if len(maps[0]) != len(maps[1]):
        raise ValueError(f"{len(maps[0])} and {len(maps[1])} layers; the depths must be equal")
    block_of = [_block_of(map) for map in maps]

    def gap(kept: list[int]) -> float:
        rows, columns = np.triu_indices(len(kept), 1)
        excess = []
        for map, numbers in zip(maps, block_of, strict=True):
            own = numbers[kept]
            inside = (own[rows] == own[columns]) & (own[rows] >= 0)
            excess.append(
                excess_over_distance(map[np.ix_(kept, kept)], inside) if inside.any() else 0
            )
        return excess[0] - excess[1]

    return _jackknife(gap, len(maps[0]))


def _block_of(map: Floats) -> NDArray[np.intp]:
    """The number of each layer's block, [L]; -1 for a layer in none."""
    numbers = np.full(len(map), -1)
    for number, (first, last) in enumerate(blocks(map).blocks):
        numbers[first : last + 1] = number
    return numbers


def _by_third(map: Floats) -> list[Estimate]:
    rows, columns = np.triu_indices(len(map), 1)
    third = np.minimum(3 * (columns - rows - 1) // (len(map) - 1), 2)

    def mean(number: int) -> Callable[[list[int]], float]:
        def of(kept: list[int]) -> float:
            left = np.isin(rows, kept) & np.isin(columns, kept) & (third == number)
            return float(map[rows[left], columns[left]].mean()) if left.any() else math.nan

        return of

    return [_jackknife(mean(number), len(map)) for number in range(3)]


def _jackknife(statistic: Callable[[list[int]], float], layers: int) -> Estimate:
    """A statistic of the kept layers with its standard error, sqrt((L - 1) / L sum of squares)."""
    whole = list(range(layers))
    if layers <= FEWEST_LAYERS:
        return Estimate(statistic(whole), math.inf)
    left_out = np.array([statistic(whole[:layer] + whole[layer + 1 :]) for layer in whole])
    if np.isnan(left_out).any():
        return Estimate(statistic(whole), math.inf)
    squares = np.square(left_out - left_out.mean()).sum()
    return Estimate(statistic(whole), math.sqrt((layers - 1) / layers * float(squares)))


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
    first = checked_map(a)
    _, expected = _compared(first, b, index)
    rows, columns = _pairs(len(first), index)
    correlation, p_value = mantel(
        first,
        lambda shuffled: spearman(shuffled[rows, columns], expected),
        positive=True,
        permutations=permutations,
    )
    return MapCorrelation(correlation, p_value, len(rows))


def _compared(
    a: ArrayLike, b: ArrayLike, index: Sequence[int] | NDArray[np.intp] | None
) -> tuple[Floats, Floats]:
    """The similarities of the compared pairs in both maps; arguments as `map_correlation`."""
    first, second = checked_map(a), checked_map(b)
    chosen = checked_index(range(len(second)) if index is None else list(index), len(second))
    if len(chosen) != len(first):
        raise ValueError(f"{len(chosen)} layers of b are compared to {len(first)} layers of a")
    rows, columns = _pairs(len(first), chosen)
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} pairs of layers are too few; at least 3 are needed")
    return first[rows, columns], second[chosen[rows], chosen[columns]]


def _pairs(
    layers: int, index: Sequence[int] | NDArray[np.intp] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of layers of a map that are compared to two layers of the other."""
    rows, columns = np.triu_indices(layers, 1)
    if index is None:
        return rows, columns
    chosen = np.asarray(index)
    differ = chosen[rows] != chosen[columns]
    return rows[differ], columns[differ]


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
