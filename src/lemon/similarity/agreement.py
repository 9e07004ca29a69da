"""Agreement of two similarity maps (`layer_pairs`): over pairs of layers, and over distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemon.similarity.blocks import blocks
from lemon.similarity.layer_pairs import (
    FEWEST_LAYERS,
    Floats,
    excess_over_distance,
    mantel,
    mean_by_distance,
    pearson,
    spearman,
)


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, by the jackknife over layers; infinite if there are too few.

    Pairs of layers share layers, so layers and not pairs are left out, one at a time (Efron and
    Stein 1981: on average not smaller than the true standard error).
    """

    value: float
    standard_error: float


def likeness_gain(
    a: Floats, control: Floats, b: Floats, index: Sequence[int], of_control: Sequence[int]
) -> Estimate:
    """How much higher `a` correlates with `b` than a control does, both as in `map_correlation`.

    The maps [L, L] of `a` and of the control are of models of one depth, made from that of `b`.
    """
    if len(a) != len(control):
        raise ValueError(f"{len(a)} and {len(control)} layers; the depths must be equal")

    def gain(kept: list[int]) -> float:
        correlations = []
        for map, chosen in ((a, index), (control, of_control)):
            part = map[np.ix_(kept, kept)]
            rows, columns, expected = _compared(b, np.asarray(chosen)[kept])
            correlations.append(spearman(part[rows, columns], expected))
        return correlations[0] - correlations[1]

    return _jackknife(gain, len(a))


def profile_gaps(a: Floats, b: Floats) -> list[Estimate]:
    """How far the maps of two models differ near, halfway and far over the relative distance.

    Pairs of layers are in thirds of their distance / (L - 1); the mean similarity of a third in `a`
    minus that in `b`.
    """
    return [
        Estimate(one.value - two.value, math.hypot(one.standard_error, two.standard_error))
        for one, two in zip(_by_third(a), _by_third(b), strict=True)
    ]


def block_excess_gap(a: Floats, b: Floats) -> Estimate:
    """How much more the blocks of one map stand out than those of another, of the same layers.

    The blocks of each map are found once, on the whole map. They stand out by `Blocks.excess`, or
    by 0 without a block. Distances are those among the layers that are not left out.
    """
    block_of = [(map, _block_of(map)) for map in (a, b)]

    def gap(kept: list[int]) -> float:
        rows, columns = np.triu_indices(len(kept), 1)
        excess = []
        for map, numbers in block_of:
            own = numbers[kept]
            inside = (own[rows] == own[columns]) & (own[rows] >= 0)
            excess.append(
                excess_over_distance(map[np.ix_(kept, kept)], inside) if inside.any() else 0
            )
        return excess[0] - excess[1]

    return _jackknife(gap, len(a))


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


def map_correlation(a: Floats, b: Floats, index: Sequence[int]) -> tuple[float, float]:
    """Rank correlation of two maps over pairs of layers, with the p-value of `mantel`.

    `index` has for each layer of `a` the layer of `b` that it is compared to, in any order (for a
    target layer its dominant source layer). Pairs of `a` with one layer of `b` are excluded;
    ValueError if fewer than three are left.
    """
    rows, columns, expected = _compared(b, np.asarray(index))
    return mantel(a, lambda shuffled: spearman(shuffled[rows, columns], expected), positive=True)


def _compared(
    b: Floats, index: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """The pairs that are compared to two layers of `b`, rows and columns, and what `b` has there.

    Arguments as `map_correlation`.
    """
    rows, columns = np.triu_indices(len(index), 1)
    differ = index[rows] != index[columns]
    rows, columns = rows[differ], columns[differ]
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} pairs of layers are too few; at least 3 are needed")
    return rows, columns, b[index[rows], index[columns]]


def profile_correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation of the mean similarities of two maps over the relative distance.

    Over distance / (L - 1), linearly interpolated, at the smaller map's distances within the range
    of the other map, so that no value is counted twice. ValueError if a profile is constant.
    """
    profiles = [mean_by_distance(map) for map in (a, b)]
    depths = [np.arange(1, len(map)) / (len(map) - 1) for map in (a, b)]
    grid = min(depths, key=len)
    grid = grid[grid >= max(depth[0] for depth in depths) - 1e-12]
    return pearson(*(np.interp(grid, x, y) for x, y in zip(depths, profiles, strict=True)))
