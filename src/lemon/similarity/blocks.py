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
`partition_stability` measure how stable a partition is, by the adjusted Rand index: the agreement
of two partitions beyond chance (Hubert and Arabie 1985).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lemon.similarity.layer_pairs import (
    FLAT,
    SEED,
    Floats,
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
    """

    blocks: tuple[tuple[int, int], ...]
    labels: NDArray[np.intp]
    within: float
    between: float
    excess: float


Partition = tuple[tuple[int, int], ...]  # (first, one past the last) layer of each block


def blocks(map: Floats) -> Blocks:
    """Find the blocks of a map by the method of this module."""
    partition = _best_partition(map)
    pairs, inside = pairs_above(map)[0], _inside(len(map), partition)
    continued = [layer for start, end in partition for layer in range(start + 1, end)]
    return Blocks(
        blocks=tuple((start, end - 1) for start, end in partition),
        labels=np.cumsum(~np.isin(np.arange(len(map)), continued)) - 1,
        within=float(pairs[inside].mean()) if partition else float("nan"),
        between=float(pairs[~inside].mean()),
        excess=excess_over_distance(map, inside),
    )


def _best_partition(map: Floats) -> Partition:
    """The blocks with the smallest BIC."""
    num_layers = len(map)
    pairs, _ = pairs_above(map)
    if np.ptp(pairs) <= FLAT * np.abs(pairs).max():
        return ()
    most_blocks = min(MOST_BLOCKS, num_layers // 2)
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


def block_stability(maps: Sequence[Floats]) -> float:
    """Mean adjusted Rand index of the partitions of several maps, over all pairs of maps.

    The maps are of one model by different matrix types or estimators: 1 if all partitions are
    equal, about 0 if they agree only by chance.
    """
    labels = [blocks(map).labels for map in maps]
    return float(np.mean([_agreement(a, b) for a, b in combinations(labels, 2)]))


def partition_stability(map: Floats) -> float:
    """Agreement of a map's partition with those of noisy copies: mean adjusted Rand index.

    The noise is normal, independent for each pair, with the standard deviation of the similarity
    around its mean at each distance. This includes the block structure, so the test is strict.
    """
    found, noise = blocks(map).labels, spread_by_distance(map)
    rng = np.random.default_rng(SEED)
    above = np.triu_indices(len(map), 1)
    agreements = []
    for _ in range(REPLICATES):
        added = np.zeros_like(map)
        added[above] = noise * rng.standard_normal(len(above[0]))
        agreements.append(_agreement(found, blocks(map + added + added.T).labels))
    return float(np.mean(agreements))


def _agreement(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    from sklearn.metrics import adjusted_rand_score  # importing it takes a second

    return float(adjusted_rand_score(first, second))
