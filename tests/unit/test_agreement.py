"""How far two similarity maps agree: by hand on small maps, and properties on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundoff import FLOAT64, sum_off
from similarity_maps import by_distance, random_map

from lemon.similarity.agreement import (
    block_excess_gap,
    likeness_gain,
    map_correlation,
    profile_correlation,
    profile_gaps,
)


def test_map_correlation_by_hand():
    """Layers 2, 0, 2 of b: pairs 20, 22 and 02, of which the second is left out."""
    a = np.array(
        [[1, 0.1, 0.4, 0.2], [0.1, 1, 0.3, 0.5], [0.4, 0.3, 1, 0.6], [0.2, 0.5, 0.6, 1]], float
    )
    b = by_distance([1.0, 0.8, 0.3])
    spearman, _ = map_correlation(a, b, [2, 0, 2, 1])
    # a: 01 03 12 13 23 = 0.1 0.2 0.3 0.5 0.6; b: 20 21 02 01 21 = 0.3 0.8 0.3 0.8 0.8.
    # Ranks 1 2 3 4 5 and 1.5 4 1.5 4 4: products 3 - 1 + 0 + 1 + 2 = 5, squares 10 and 7.5.
    assert spearman == pytest.approx(5 / np.sqrt(75))


@pytest.mark.slow
@settings(max_examples=20)
@given(num_layers=st.integers(5, 12), seed=st.integers(0, 2**32 - 1))
def test_a_map_agrees_with_itself_in_any_order(num_layers, seed):
    b = random_map(num_layers, seed)
    index = np.random.default_rng(seed).permutation(num_layers)[:-1]
    # An inner product of two vectors of length 1, each divided by a root of a sum of squares.
    allowed = 2 * sum_off(num_layers * (num_layers - 1) // 2, FLOAT64)
    spearman, p_value = map_correlation(2 * b[np.ix_(index, index)] - 1, b, index)
    assert spearman == pytest.approx(1, abs=allowed)
    assert p_value <= 0.2
    assert map_correlation(b, b, range(num_layers))[0] == pytest.approx(1, abs=allowed)


def test_unrelated_maps_do_not_agree():
    spearman, p_value = map_correlation(random_map(16, 0), random_map(16, 1), range(16))
    assert abs(spearman) < 0.2
    assert p_value > 0.05


@pytest.mark.slow
def test_the_gain_over_a_control_is_the_difference_of_the_correlations():
    a, control, b = random_map(8, 0), random_map(8, 1), random_map(10, 2)
    index, other = list(range(8)), list(range(1, 9))
    gain = likeness_gain(a, control, b, index, other)
    one, two = map_correlation(a, b, index), map_correlation(control, b, other)
    assert gain.value == pytest.approx(one[0] - two[0])
    # the jackknife, layer by layer
    left_out = []
    for layer in range(8):
        kept = [other for other in range(8) if other != layer]
        block = np.ix_(kept, kept)
        ours, _ = map_correlation(a[block], b, kept)
        theirs, _ = map_correlation(control[block], b, [k + 1 for k in kept])
        left_out.append(ours - theirs)
    assert gain.standard_error == pytest.approx(np.sqrt(7) * np.std(left_out))
    with pytest.raises(ValueError, match="the depths must be equal"):
        likeness_gain(a, random_map(7, 1), b, index, index[:7])
    assert likeness_gain(*[random_map(3, 0)] * 3, range(3), range(3)).standard_error == np.inf


def test_profile_gaps_by_hand():
    """Seven layers: distances 1 and 2, 3 and 4, 5 and 6, of 6 and 5, 4 and 3, 2 and 1 pairs."""
    one = by_distance([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    two = by_distance([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    near, halfway, far = profile_gaps(one, two)
    assert near.value == pytest.approx((6 * 0.9 + 5 * 0.8) / 11 - 0.5)
    assert halfway.value == pytest.approx((4 * 0.7 + 3 * 0.6) / 7 - 0.5)
    assert far.value == pytest.approx((2 * 0.5 + 0.4) / 3 - 0.5)
    # far without layer 0: pair 16 alone, 0.5; without 6: 05; without 1 or 5: two pairs, 0.45
    left_out = np.array([0.5, 0.45, *[1.4 / 3] * 3, 0.45, 0.5])
    assert far.standard_error == pytest.approx(np.sqrt(6) * left_out.std())
    # of six layers one pair is far apart: without one of its layers there is none
    assert profile_gaps(random_map(6, 0), random_map(6, 1))[2].standard_error == np.inf


def blocky(inside: float) -> np.ndarray:
    """Eight layers, alike by 0.1, but by `inside` within 0 to 3 and within 4 to 7."""
    half = np.arange(8) // 4
    return np.where(half[:, None] == half, inside, 0.1) + (1 - inside) * np.eye(8)


def test_block_excess_gap_by_hand():
    """Blocks of 0.9 and of 0.5 exceed the pairs at their distances by 0.8 and 0.4."""
    gap = block_excess_gap(blocky(0.9), blocky(0.5))
    assert gap.value == pytest.approx(0.4)
    assert gap.standard_error == pytest.approx(0)  # whichever layer is left out
    flat = blocky(0.1)  # without a block
    assert block_excess_gap(blocky(0.9), flat).value == pytest.approx(0.8)
    assert block_excess_gap(flat, flat).value == 0


def test_profile_correlation_by_hand():
    """A line over the relative distance is the same line at any depth."""
    short = by_distance([1.0, 0.9, 0.8, 0.7, 0.6])  # 1 - 0.4 t at t = 1/4 ... 1
    long = by_distance(list(1 - 0.4 * np.arange(9) / 8))
    assert profile_correlation(short, long) == pytest.approx(1)
    # At t = 1/4, 1/2, 3/4, 1 a map of six layers is between its own t = 1/5, 2/5, ... 1.
    bent = by_distance([1.0, 0.9, 0.8, 0.7, 0.6, 0.1])
    expected = np.corrcoef([0.9, 0.8, 0.7, 0.6], [0.875, 0.75, 0.625, 0.1])[0, 1]
    assert profile_correlation(short, bent) == pytest.approx(expected)


def test_profile_correlation_leaves_out_what_one_map_does_not_reach():
    """Of ten layers distance 1/9 has no counterpart among seven layers, but theirs are taken."""
    ten, seven = random_map(10, 0), random_map(7, 1)
    means = [[m.diagonal(d).mean() for d in range(1, len(m))] for m in (ten, seven)]
    at = np.arange(1, 7) / 6
    expected = np.corrcoef(np.interp(at, np.arange(1, 10) / 9, means[0]), means[1])[0, 1]
    assert profile_correlation(ten, seven) == pytest.approx(expected)
    assert profile_correlation(seven, ten) == pytest.approx(expected)


def test_what_has_no_correlation_is_refused():
    with pytest.raises(ValueError, match="all values are equal"):
        map_correlation(random_map(7, 0), np.full((7, 7), 0.1), range(7))
    with pytest.raises(ValueError, match="0 pairs"):
        map_correlation(random_map(4, 0), random_map(7, 1), [2, 2, 2, 2])
