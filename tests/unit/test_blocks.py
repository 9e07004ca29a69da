"""Block detection against exhaustive search, planted blocks, and its stability measures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundoff import FLOAT64, sum_off

from lemon.similarity import blocks as blocks_module
from lemon.similarity.blocks import block_stability, blocks, partition_stability
from lemon.similarity.layer_pairs import spread_by_distance

SEEDS = st.integers(0, 2**32 - 1)


def planted(
    num_layers: int, parts: list[tuple[int, int, float]], noise: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Background 0.3, parts (first, last, similarity), normal noise on each pair."""
    values = np.full((num_layers, num_layers), 0.3)
    for first, last, similarity in parts:
        values[first : last + 1, first : last + 1] = similarity
    added = np.triu(np.random.default_rng(seed).normal(scale=noise, size=values.shape), 1)
    values += added + added.T
    np.fill_diagonal(values, 1.0)
    return values


def squares_left(map: np.ndarray, parts: list[tuple[int, int]]) -> float:
    """Directly: each pair minus the mean of its block or of the background; inf for no block."""
    groups: dict[int, list[float]] = {-1: []}
    for i, j in itertools.combinations(range(len(map)), 2):
        own = [k for k, (first, last) in enumerate(parts) if first <= i and j <= last]
        groups.setdefault(own[0] if own else -1, []).append(map[i, j])
    if not groups[-1] or any(np.mean(groups[k]) <= np.mean(groups[-1]) for k in groups if k >= 0):
        return np.inf
    return sum(np.sum((np.array(g) - np.mean(g)) ** 2) for g in groups.values())


def bic_off(map: np.ndarray, parts: list[tuple[int, int]]) -> float:
    """How far N log(squares left / N) may be off, for values of up to 1.

    Each of N deviations is off by `sum_off(N)`, so the squares are by twice that times the sum of
    the deviations, which is at most sqrt(N left).
    """
    number = len(map) * (len(map) - 1) // 2
    left = max(squares_left(map, parts), 1e-12 * squares_left(map, []))
    return number * 2 * sum_off(number, FLOAT64) * np.sqrt(number / left)


def every_partition(num_layers: int, first: int = 0):
    """All sets of disjoint stretches of two or more layers."""
    yield []
    for start in range(first, num_layers - 1):
        for last in range(start + 1, num_layers):
            for rest in every_partition(num_layers, last + 1):
                yield [(start, last), *rest]


@pytest.mark.filterwarnings("error")  # which numpy gives for the mean of a block without a pair
def test_two_blocks_by_hand():
    """Layers 1-2 at 0.9 and 3-5 at 0.7 of seven; one pair and three pairs, 17 others."""
    found = blocks(planted(7, [(1, 2, 0.9), (3, 5, 0.7)]))
    assert found.blocks == ((1, 2), (3, 5))
    np.testing.assert_array_equal(found.labels, [0, 1, 1, 2, 2, 2, 3])
    assert found.within == pytest.approx((0.9 + 3 * 0.7) / 4)
    assert found.between == pytest.approx(0.3)
    assert found.excess == pytest.approx(0.75 - 0.3)


# Not random: the background is searched on a grid, so that a miss is possible.
@settings(max_examples=30, derandomize=True)
@given(num_layers=st.integers(3, 7), seed=SEEDS)
def test_no_partition_has_a_smaller_bic(num_layers, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(num_layers, num_layers)) ** rng.integers(1, 6)
    values = (values + values.T) / 2
    number = num_layers * (num_layers - 1) // 2

    def bic(parts: list[tuple[int, int]]) -> float:
        left = squares_left(values, parts)
        least = 1e-12 * squares_left(values, [])
        return number * np.log(max(left, least) / number) + 3 * len(parts) * np.log(number)

    best = min(every_partition(num_layers), key=bic)
    found = blocks(values)
    allowed = 2 * (bic_off(values, best) + bic_off(values, []))
    assert bic(list(found.blocks)) == pytest.approx(bic(best), abs=allowed)


@settings(max_examples=15, derandomize=True)  # noise may pass for a block
@given(seed=SEEDS, edge=st.integers(4, 12), size=st.integers(4, 8))
def test_planted_blocks_are_found_again(seed, edge, size):
    parts = [(edge, edge + size - 1, 0.7), (edge + size, 21, 0.6)]
    found = blocks(planted(24, parts, noise=0.03, seed=seed))
    assert found.blocks == tuple((first, last) for first, last, _ in parts)
    # Noise of 0.03 in the mean of 21 or more pairs, and of 10 or more at each distance: 6 x 0.012.
    assert found.excess == pytest.approx(blocks(planted(24, parts)).excess, abs=0.07)


@settings(max_examples=15)
@given(num_layers=st.integers(5, 16), seed=SEEDS)
def test_reading_backwards_and_scaling_change_nothing(num_layers, seed):
    values = planted(num_layers, [(1, num_layers // 2, 0.6)], noise=0.1, seed=seed)
    found = blocks(values)
    backwards = blocks(values[::-1, ::-1])
    mirrored = [(num_layers - 1 - last, num_layers - 1 - first) for first, last in found.blocks]
    assert backwards.blocks == tuple(reversed(mirrored))
    assert blocks(3 * values - 1).blocks == found.blocks


def test_a_map_without_structure_has_no_blocks():
    for values in (planted(9, []), planted(24, [], noise=0.05)):
        found = blocks(values)
        assert found.blocks == ()
        np.testing.assert_array_equal(found.labels, range(len(values)))
        assert np.isnan(found.within)
        assert np.isnan(found.excess)
        assert found.between == pytest.approx(values[np.triu_indices(len(values), 1)].mean())


def test_layers_that_are_less_alike_are_no_block():
    found = blocks(planted(12, [(0, 4, 0.1)]))
    assert (0, 4) not in found.blocks


def test_nearness_alone_gives_blocks_without_excess():
    """A map that only declines with distance is cut into equal parts, which `excess` exposes."""
    index = np.arange(32)
    found = blocks(0.2 + 0.5 * np.exp(-np.abs(index[:, None] - index) / 4))
    assert found.blocks
    assert found.excess == pytest.approx(0, abs=1e-12)


def test_the_number_of_blocks_is_limited(monkeypatch):
    values = planted(12, [(0, 3, 0.9), (6, 9, 0.6)])
    assert len(blocks(values).blocks) == 2
    monkeypatch.setattr(blocks_module, "MOST_BLOCKS", 1)
    assert blocks(values).blocks == ((0, 3),)
    monkeypatch.setattr(blocks_module, "MOST_BLOCKS", 0)
    assert blocks(values).blocks == ()


def test_stability_over_maps():
    """Parts 0|12|345|6 twice and 0|1|2|345|6 once: pairs 4 and 3, of them 3 shared, of 21."""
    both = planted(7, [(1, 2, 0.9), (3, 5, 0.7)])
    one = planted(7, [(3, 5, 0.7)])
    assert block_stability([both, 2 * both]) == 1
    chance = 4 * 3 / 21
    other = (3 - chance) / (3.5 - chance)
    assert block_stability([both, both, one]) == pytest.approx((1 + 2 * other) / 3)


def test_clear_parts_stay_and_doubtful_ones_do_not(monkeypatch):
    """Equal similarity at equal distance, so no noise is added; then noise as large as a block."""
    monkeypatch.setattr(blocks_module, "REPLICATES", 40)
    index = np.arange(12)
    declining = 0.2 + 0.5 * np.exp(-np.abs(index[:, None] - index) / 2)
    assert spread_by_distance(declining) == pytest.approx(0, abs=1e-12)
    assert partition_stability(declining) == 1
    clear = planted(24, [(2, 12, 0.8), (13, 21, 0.8)], noise=0.01)
    found = partition_stability(clear)
    assert found > 0.8
    doubtful = planted(24, [(2, 12, 0.5), (13, 21, 0.42)], noise=0.2, seed=1)
    unsure = partition_stability(doubtful)
    assert unsure < found
    assert unsure == partition_stability(doubtful)
    monkeypatch.setattr(blocks_module, "SEED", 1)
    assert unsure != partition_stability(doubtful)
