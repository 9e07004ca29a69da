"""Stability of the blocks of a similarity map: across maps of one model, and under noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lemon.similarity.blocks import blocks
from lemon.similarity.layer_pairs import SEED, checked_map, residuals_by_distance

REPLICATES = 200


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
    pairs = [
        adjusted_rand_index(labels[i], labels[j])
        for i in range(len(labels))
        for j in range(i + 1, len(labels))
    ]
    return float(np.mean(pairs))


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
    _, noise = residuals_by_distance(values)
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
    rows, columns = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    in_both, in_a, in_b, in_all = (
        (n * (n - 1) / 2).sum()
        for n in (table, table.sum(1), table.sum(0), np.array([float(len(a))]))
    )
    chance = in_a * in_b / in_all
    most = (in_a + in_b) / 2
    return 1.0 if most == chance else float((in_both - chance) / (most - chance))
