"""Blocks of consecutive layers that are more similar than layers are in general.

A partition of the layers consists of blocks of two or more consecutive layers, and single layers.
It is fitted to the pairs i < j of a map by least squares: a pair inside block k has the mean mu_k,
every other pair the background b. Compared to a map that is all background, block k explains

    n_k (mu_k - b)^2    if mu_k > b, else it is no block                       (n_k pairs inside)

These terms add up over blocks, so for given b dynamic programming over the last layer finds the
best partition for each number of blocks K. b is initialised from quantiles of the pairs, then set
to the mean of the pairs outside the blocks until it converges. Least squares needs no threshold and
distinguishes a tight small block from a loose large one.

K minimises the BIC, N log(squares left / N) + 3 K log N: a block has two ends and a mean. Pairs are
not independent, so BIC is a fixed rule here and not a test. `block_stability` and
`partition_stability` measure how stable a partition is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats.contingency import crosstab

from lemon.similarity.layer_pairs import (
    FLAT,
    SEED,
    Floats,
    checked_map,
    excess_over_distance,
    pairs_above,
    spread_by_distance,
)

MOST_BLOCKS = 10
START_QUANTILES = 17  # initial backgrounds
SETTLED = 20  # maximum rounds of background updates
PARAMETERS_A_BLOCK = 3
REPLICATES = 200  # noisy copies of a map


@dataclass(frozen=True)
class Blocks:
    """A partition of the layers, and its fit.

    Attributes:
        blocks: (first, last) layer of each block, inclusive.
        labels: [L], index of each layer's part; single layers are parts too.
        within: mean over all pairs within blocks; NaN without a block.
        between: mean over all other pairs, the background.
        excess: `excess_over_distance` of the pairs within blocks: their effect beyond distance.
        bic_gain: BIC without blocks minus BIC of this partition; 0 without blocks.
    """

    blocks: tuple[tuple[int, int], ...]
    labels: NDArray[np.intp]
    within: float
    between: float
    excess: float
    bic_gain: float


def blocks(map: ArrayLike, *, most_blocks: int = MOST_BLOCKS) -> Blocks:
    """Find the blocks of a map by the method of this module.

    `most_blocks` is the largest K.

    Raises:
        ValueError: an invalid map, or `most_blocks` is negative.
    """
    values = checked_map(map)
    if most_blocks < 0:
        raise ValueError(f"most_blocks is {most_blocks}; it must be at least 0")
    return _described(values, _best_partition(values, most_blocks))


Partition = tuple[tuple[int, int], ...]  # (first, one past the last) layer of each block


def _best_partition(map: Floats, most_blocks: int) -> Partition:
    """The blocks with the smallest BIC."""
    num_layers = len(map)
    pairs, _ = pairs_above(map)
    if np.ptp(pairs) <= FLAT * np.abs(pairs).max():
        return ()
    most_blocks = min(most_blocks, num_layers // 2)
    sums, counts = _stretches(map)
    candidates: set[Partition] = {()}
    for background in np.unique(np.quantile(pairs, np.linspace(0, 1, START_QUANTILES))):
        candidates.update(_partitions(sums, counts, background, most_blocks))
    whole = _squares_left(map, ())
    best = min(candidates, key=lambda blocks: (_bic(map, blocks, whole), len(blocks), blocks))
    for _ in range(SETTLED):
        background = pairs[~_inside(num_layers, best)].mean()
        same_size = _partitions(sums, counts, background, len(best))[len(best) :]
        better = min((best, *same_size), key=lambda blocks: _bic(map, blocks, whole))
        if better == best:
            break
        best = better
    return best


def _stretches(map: Floats) -> tuple[Floats, Floats]:
    """Sum and number of the pairs within layers s to e - 1, [L + 1, L + 1] each, 0 for e < s + 2.

    The range of all layers counts as empty: without background pairs it is no block.
    """
    num_layers = len(map)
    sums, counts = np.zeros((2, num_layers + 1, num_layers + 1))
    for start in range(num_layers):
        columns = np.cumsum(np.triu(map[start:, start:], 1).sum(0))
        sizes = np.arange(1, num_layers - start + 1)
        sums[start, start + 1 :] = columns
        counts[start, start + 1 :] = sizes * (sizes - 1) / 2
    sums[0, num_layers] = counts[0, num_layers] = 0
    return sums, counts


def _partitions(sums: Floats, counts: Floats, background: float, most: int) -> list[Partition]:
    """The partitions that explain most with 0, 1, ..., `most` blocks, as far as there are any."""
    num_layers = len(sums) - 1
    excess = sums - counts * background  # n (mu - b)
    gain = np.where(excess > 0, excess**2 / np.maximum(counts, 1), -np.inf)
    explained = np.full((num_layers + 1, most + 1), -np.inf)  # by first e layers, K blocks
    explained[:, 0] = 0
    found: list[list[Partition]] = [[()] * (most + 1)]  # the partitions that explain this
    for end in range(1, num_layers + 1):
        explained[end] = explained[end - 1]
        found.append(list(found[end - 1]))
        with_block = explained[:end, :-1] + gain[:end, end, None]
        starts = with_block.argmax(0)
        values = with_block[starts, np.arange(most)]
        for number in np.flatnonzero(values > explained[end, 1:]):
            start = int(starts[number])
            explained[end, number + 1] = values[number]
            found[end][number + 1] = (*found[start][number], (start, end))
    feasible = np.isfinite(explained[num_layers])
    return [partition for partition, can in zip(found[-1], feasible, strict=True) if can]


def _inside(num_layers: int, partition: Partition) -> NDArray[np.bool_]:
    """Whether each pair i < j, in the order of `triu_indices`, is within a block."""
    label = np.full(num_layers, -1)
    for number, (start, end) in enumerate(partition):
        label[start:end] = number
    rows, columns = np.triu_indices(num_layers, 1)
    return (label[rows] == label[columns]) & (label[rows] >= 0)


def _squares_left(map: Floats, partition: Partition) -> float:
    """Sum of squares of the pairs around block means and background."""
    groups = [pairs_above(map)[0][~_inside(len(map), partition)]]
    groups += [pairs_above(map[start:end, start:end])[0] for start, end in partition]
    return float(sum(np.square(group - group.mean()).sum() for group in groups))


def _bic(map: Floats, partition: Partition, whole: float) -> float:
    """Bayesian information criterion up to a constant; smaller is better.

    `whole` are the squares left without blocks.
    """
    number = len(map) * (len(map) - 1) // 2
    least = FLAT * whole  # so that among exact fits the simplest wins
    left = max(_squares_left(map, partition), least)
    return number * np.log(left / number) + PARAMETERS_A_BLOCK * len(partition) * np.log(number)


def _described(map: Floats, partition: Partition) -> Blocks:
    pairs, inside = pairs_above(map)[0], _inside(len(map), partition)
    whole = _squares_left(map, ())
    continued = [layer for start, end in partition for layer in range(start + 1, end)]
    return Blocks(
        blocks=tuple((start, end - 1) for start, end in partition),
        labels=np.cumsum(~np.isin(np.arange(len(map)), continued)) - 1,
        within=float(pairs[inside].mean()) if partition else float("nan"),
        between=float(pairs[~inside].mean()),
        excess=excess_over_distance(map, inside),
        bic_gain=float(_bic(map, (), whole) - _bic(map, partition, whole)) if partition else 0.0,
    )


def block_stability(maps: Sequence[ArrayLike]) -> float:
    """Mean adjusted Rand index of the partitions of several maps, over all pairs of maps.

    The maps are of one model by different matrix types or estimators: 1 if all partitions are
    equal, about 0 if they agree only by chance.

    Raises:
        ValueError: fewer than two maps, maps of different size, or an invalid map.
    """
    if len(maps) < 2:
        raise ValueError(f"{len(maps)} maps; at least 2 are compared")
    labels = [blocks(map).labels for map in maps]
    if len({len(of_map) for of_map in labels}) > 1:
        raise ValueError("the maps have different numbers of layers")
    return float(np.mean([adjusted_rand_index(a, b) for a, b in combinations(labels, 2)]))


def partition_stability(map: ArrayLike, *, replicates: int = REPLICATES, seed: int = SEED) -> float:
    """Agreement of a map's partition with that of noisy copies: mean adjusted Rand index.

    The noise is normal, independent for each pair, with the standard deviation of the similarity
    around its mean at each distance. This includes the block structure, so the test is strict.

    Raises:
        ValueError: an invalid map, or no replicates.
    """
    values = checked_map(map)
    if replicates < 1:
        raise ValueError(f"{replicates} replicates; at least 1 is needed")
    found = blocks(values).labels
    noise = spread_by_distance(values)
    rng = np.random.default_rng(seed)
    above = np.triu_indices(len(values), 1)
    agreements = []
    for _ in range(replicates):
        added = np.zeros_like(values)
        added[above] = noise * rng.standard_normal(len(above[0]))
        agreements.append(adjusted_rand_index(found, blocks(values + added + added.T).labels))
    return float(np.mean(agreements))


def adjusted_rand_index(first: ArrayLike, second: ArrayLike) -> float:
    """Agreement of two partitions beyond chance (Hubert and Arabie 1985, eq. 5).

    With n_ij members in part i of one and part j of the other and C(n) = n (n - 1) / 2:
    (sum C(n_ij) - E) / ((A + B) / 2 - E), A = sum C(n_i.), B = sum C(n_.j), E = A B / C(n). If the
    denominator is 0 (in both partitions all members separate, or all in one part) the index is 1.

    Raises:
        ValueError: the label sequences differ in length or have fewer than two members.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError("two label sequences of one length, of two members or more, are compared")
    table = crosstab(a, b).count
    in_both, in_a, in_b, in_all = (
        (n * (n - 1) / 2).sum() for n in (table, table.sum(1), table.sum(0), table.sum())
    )
    chance = in_a * in_b / in_all
    most = (in_a + in_b) / 2
    return 1.0 if most == chance else float((in_both - chance) / (most - chance))
