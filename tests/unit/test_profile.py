"""Statistics of similarity maps: by hand on small maps, and their properties on random ones."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundoff import FLOAT64, sum_off
from similarity_maps import by_distance, random_map

from lemon.similarity import layer_pairs
from lemon.similarity.layer_pairs import mantel, spearman, spread_by_distance
from lemon.similarity.profile import distance_profile, offset_profile, thirds

# Pairs 01, 12, 23 at distance 1; 02, 13 at 2; 03 at 3.
FOUR = np.array(
    [
        [1.0, 0.9, 0.4, 0.1],
        [0.9, 1.0, 0.8, 0.2],
        [0.4, 0.8, 1.0, 0.7],
        [0.1, 0.2, 0.7, 1.0],
    ]
)


SEEDS = st.integers(0, 2**32 - 1)
# Random maps have values of up to 1 and at most 20 layers, 190 pairs. What is compared are
# differences of two means, or quotients of sums, on both sides.
OFF = 4 * sum_off(190, FLOAT64)


def test_distance_profile_by_hand():
    result = distance_profile(FOUR)
    np.testing.assert_allclose(result.means, [0.8, 0.3, 0.1])
    assert result.nearest_minus_farther == pytest.approx(0.8 - (0.4 + 0.2 + 0.1) / 3)
    # Ranks of similarity 6 5 4 | 3 2 | 1, of distance 2 2 2 | 4.5 4.5 | 6, each of mean 3.5:
    # products -3.75 -2.25 -0.75 - 0.5 - 1.5 - 6.25 = -15, squares 17.5 and 6.75 + 2 + 6.25 = 15.
    assert result.rank_correlation == pytest.approx(-15 / np.sqrt(17.5 * 15))


def test_mantel_counts_all_orders_of_four_layers():
    """Only the order itself and its mirror image reach the correlation: 2 of 24 permutations."""
    above = np.triu_indices(4, 1)
    distance = np.array([1.0, 2, 3, 1, 2, 1])
    reached = sum(
        spearman(FOUR[np.ix_(order, order)][above], distance) <= -15 / np.sqrt(17.5 * 15) + 1e-12
        for order in itertools.permutations(range(4))
    )
    assert reached == 2
    assert distance_profile(FOUR).p_value == pytest.approx(2 / 24, abs=0.02)


def test_mantel_p_value_is_one_more_over_one_more(monkeypatch):
    monkeypatch.setattr(layer_pairs, "PERMUTATIONS", 3)
    values = iter([0.5, 0.9, 0.5, 0.1])  # observed, then three shuffles of which two reach it
    found = mantel(FOUR, lambda _: next(values), positive=True)
    assert found == (0.5, 3 / 4)
    values = iter([0.5, 0.9, 0.5, 0.1])
    assert mantel(FOUR, lambda _: next(values), positive=False)[1] == 3 / 4


def test_a_declining_map_is_told_from_a_shuffled_one():
    declining = by_distance(list(0.9 ** np.arange(16)))
    result = distance_profile(declining)
    assert result.rank_correlation == pytest.approx(-1)
    assert result.p_value == 1 / 1000
    assert distance_profile(random_map(16, 3)).p_value > 0.05
    assert distance_profile(1 - declining).p_value == 1


@pytest.mark.slow
@settings(max_examples=20)
@given(num_layers=st.integers(4, 12), seed=SEEDS)
def test_distance_profile_properties(num_layers, seed):
    values = random_map(num_layers, seed)
    result = distance_profile(values)
    assert result.means @ np.arange(len(result.means), 0, -1) == pytest.approx(
        values[np.triu_indices(num_layers, 1)].sum(), rel=OFF
    )
    backwards = distance_profile(values[::-1, ::-1])
    np.testing.assert_allclose(backwards.means, result.means, rtol=OFF)
    assert backwards.rank_correlation == pytest.approx(result.rank_correlation, abs=OFF)
    scaled = distance_profile(2 * values + 1)
    assert scaled.rank_correlation == pytest.approx(result.rank_correlation, abs=OFF)
    assert scaled.p_value == result.p_value
    doubled = 2 * result.nearest_minus_farther
    assert scaled.nearest_minus_farther == pytest.approx(doubled, abs=3 * OFF)  # values up to 3
    assert 0 < result.p_value <= 1


def test_spread_by_distance_by_hand():
    """Around 0.8: 0.1, 0, -0.1; around 0.3: 0.1, -0.1; 6 pairs less 3 means are 3 degrees."""
    assert spread_by_distance(FOUR) == pytest.approx(np.sqrt(0.04 / 3))


def test_thirds_by_hand():
    """Six layers, thirds 01 | 23 | 45; the other pairs without layers 0 and 5: 12 13 24 34."""
    values = np.eye(6)
    pairs = {(0, 1): 0.1, (2, 3): 0.6, (4, 5): 0.8, (1, 2): 0.3, (1, 3): 0.2, (2, 4): 0.5}
    pairs |= {(3, 4): 0.4, (1, 4): 0.7, (0, 5): 0.25, (0, 2): 0.05}
    for (i, j), value in pairs.items():
        values[i, j] = values[j, i] = value
    result = thirds(values)
    assert (result.first, result.middle, result.deep) == (0.1, 0.6, 0.8)
    assert result.first_layer == pytest.approx((0.1 + 0.05 + 0.25) / 5)
    assert result.last_layer == pytest.approx((0.8 + 0.25) / 5)
    assert result.ends == pytest.approx((0.1 + 0.05 + 0.25 + 0.8) / 9)
    # Without ends: distance 1 has 12 23 34, mean 1.3/3; 2 has 13 24, mean 0.35; 3 has 14, 0.7.
    # Ends: 01 and 45 at 1; 02 and 35 at 2; 03 and 25 at 3; those at 4 and 5 have no peers.
    excess = [0.1 - 1.3 / 3, 0.8 - 1.3 / 3, 0.05 - 0.35, 0 - 0.35, 0 - 0.7, 0 - 0.7]
    assert result.ends_excess == pytest.approx(np.mean(excess))


@settings(max_examples=20)
@given(num_layers=st.integers(6, 20), seed=SEEDS)
def test_thirds_properties(num_layers, seed):
    forward = thirds(random_map(num_layers, seed))
    backward = thirds(random_map(num_layers, seed)[::-1, ::-1])
    assert backward.first == pytest.approx(forward.deep, abs=OFF)
    assert backward.first_layer == pytest.approx(forward.last_layer, abs=OFF)
    assert backward.ends == pytest.approx(forward.ends, abs=OFF)
    assert backward.ends_excess == pytest.approx(forward.ends_excess, abs=OFF)
    # A map of distance alone has ends that differ by their distances only.
    declining = by_distance(list(0.8 ** np.arange(num_layers)))
    assert thirds(declining).ends_excess == pytest.approx(0, abs=OFF)


def test_equal_offsets_have_no_rank_correlation():
    assert np.isnan(offset_profile(np.ones((2, 4)), [0, 1]).rank_correlation)


def test_offset_profile_by_hand():
    gamma = np.array([[0.9, 0.2, -0.1, -0.2], [0.1, -0.1, 0.3, 0.7]])
    result = offset_profile(gamma, [0, 3])
    np.testing.assert_array_equal(result.offsets, [-3, -2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(result.counts, [1, 1, 1, 2, 1, 1, 1])
    np.testing.assert_allclose(result.means, [0.1, -0.1, 0.3, 0.8, 0.2, -0.1, -0.2])
    np.testing.assert_allclose(result.negative, [0, 1, 0, 0, 0, 1, 1])
    # |offset| ranks 6.5 4.5 2.5 1 2.5 4.5 6.5; means ranks 4 2.5 6 7 5 2.5 1; means of both are 4.
    distance = np.array([2.5, 0.5, -1.5, -3, -1.5, 0.5, 2.5])
    mean = np.array([0, -1.5, 2, 3, 1, -1.5, -3])
    expected = distance @ mean / np.sqrt(distance @ distance * (mean @ mean))
    assert result.rank_correlation == pytest.approx(expected)


@settings(max_examples=20)
@given(targets=st.integers(1, 6), sources=st.integers(3, 9), seed=SEEDS)
def test_offset_profile_properties(targets, sources, seed):
    rng = np.random.default_rng(seed)
    gamma = rng.normal(size=(targets, sources))
    starts = rng.integers(sources, size=targets)
    result = offset_profile(gamma, starts)
    assert result.counts.sum() == gamma.size
    allowed = OFF * np.abs(gamma).sum()
    assert result.counts @ result.means == pytest.approx(gamma.sum(), abs=allowed)
    assert result.counts @ result.negative == pytest.approx((gamma < 0).sum(), rel=OFF)
    assert (np.diff(result.offsets) == 1).all()
    mirrored = offset_profile(gamma[:, ::-1], sources - 1 - starts)
    np.testing.assert_array_equal(mirrored.offsets, -result.offsets[::-1])
    largest = np.abs(gamma).max()
    np.testing.assert_allclose(mirrored.means, result.means[::-1], rtol=0, atol=OFF * largest)


def test_a_constant_map_has_no_profile():
    with pytest.raises(ValueError, match="all values are equal"):
        distance_profile(np.full((7, 7), 0.1))


def test_statistics_need_no_torch():
    code = "import sys, lemon.similarity.profile; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
