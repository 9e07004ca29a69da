"""The builders: which operators each method stands for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import smaller
from roundoff import sum_off

from lemon.architecture import LAYER_TYPES, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.methods.average import contiguous_clusters
from lemon.methods.build import builder_of
from lemon.methods.context import BuildContext
from lemon.operators.factor import one_hot
from lemon.operators.fuse import fuse_tensors
from lemon.radii import Radii


@pytest.fixture(scope="module")
def source(tiny_model_folder) -> Checkpoint:
    return Checkpoint(tiny_model_folder)


def test_cut_keeps_the_first_layers(source):
    operators = builder_of("cut")(BuildContext(source, source.shape.with_depth(3)))
    assert operators.gamma.keys() == LAYER_TYPES.keys()
    assert all(one_hot(gamma).chosen.tolist() == [0, 1, 2] for gamma in operators.gamma.values())
    assert operators.hidden is None and not operators.attn and not operators.ffn


@pytest.mark.parametrize("radii", [Radii(), Radii(8, 8, 2)])
def test_cut_keeps_the_first_channels_heads_and_neurons(source, radii):
    target = smaller(source.shape)
    operators = builder_of("cut")(BuildContext(source, target, radii))
    fused = dict(fuse_tensors(source, operators))
    for layer in range(3):
        for type, rows, columns in (
            ("q", 2 * 2 * 8, 40),
            ("k", 2 * 8, 40),
            ("v", 2 * 8, 40),
            ("o", 40, 2 * 2 * 8),
            ("gate", 48, 40),
            ("down", 40, 48),
        ):
            name = layer_tensor_name(type, layer)
            assert fused[name].equal(source.tensor(name)[:rows, :columns]), name


def test_cut_of_one_axis_leaves_the_others_alone(source):
    target = replace(source.shape, intermediate_size=32)
    operators = builder_of("cut")(BuildContext(source, target))
    assert {name.split(".")[0] for name, _ in operators.named_factors()} == {"ffn"}


def test_random_keeps_a_sorted_subset_that_the_seed_decides(source):
    target = source.shape.with_depth(3)
    draws = [builder_of("random")(BuildContext(source, target, seed=seed)) for seed in range(20)]
    for operators in draws:
        kept = operators.gamma["q"].chosen.tolist()
        assert kept == sorted(set(kept)) and len(kept) == 3
        assert all(other.chosen.tolist() == kept for other in operators.gamma.values())
    again = builder_of("random")(BuildContext(source, target, seed=7))
    assert again.gamma["v"].chosen.equal(draws[7].gamma["v"].chosen)
    assert len({tuple(operators.gamma["q"].chosen.tolist()) for operators in draws}) > 3


def test_clusters_by_hand():
    """1 and 2 are most alike, then 3 and 4; then {1, 2} with {3, 4} at 0.5 beats 0 at 0.25."""
    similarity = np.zeros((5, 5))
    for i, j, value in (
        *((1, 2, 0.9), (3, 4, 0.8)),
        *((2, 3, 0.7), (1, 3, 0.5), (2, 4, 0.5), (1, 4, 0.3)),
        *((0, 1, 0.4), (0, 2, 0.1)),
    ):
        similarity[i, j] = similarity[j, i] = value
    assert contiguous_clusters(similarity, 4) == [[0], [1, 2], [3], [4]]
    assert contiguous_clusters(similarity, 3) == [[0], [1, 2], [3, 4]]
    assert contiguous_clusters(similarity, 2) == [[0], [1, 2, 3, 4]]
    assert contiguous_clusters(similarity, 1) == [[0, 1, 2, 3, 4]]


def test_linkage_is_the_mean_over_pairs_and_not_the_touching_pair():
    """0-1 joined first; layer 2 touches 1 at 0.6 but the mean with 0 is 0.3, below 2-3 at 0.4."""
    similarity = np.zeros((4, 4))
    for i, j, value in ((0, 1, 0.9), (1, 2, 0.6), (2, 3, 0.4)):
        similarity[i, j] = similarity[j, i] = value
    assert contiguous_clusters(similarity, 2) == [[0, 1], [2, 3]]


def test_average_gives_each_target_layer_the_mean_of_its_cluster(source):
    operators = builder_of("average")(BuildContext(source, source.shape.with_depth(3)))
    gamma = operators.gamma["q"].dense()
    assert all(other.dense().equal(gamma) for other in operators.gamma.values())
    assert (gamma > 0).sum(0).tolist() == [1] * 5
    owners = gamma.argmax(0).tolist()
    assert owners == sorted(owners) and set(owners) == {0, 1, 2}
    for row in gamma:
        assert row[row > 0].tolist() == pytest.approx(
            [1 / int((row > 0).sum())] * int((row > 0).sum())
        )
    fused = dict(fuse_tensors(source, operators))
    for row, weights in enumerate(gamma):
        members = [j for j in range(5) if weights[j]]
        stacked = torch.stack([source.tensor(layer_tensor_name("up", j)) for j in members])
        off = (fused[layer_tensor_name("up", row)] - stacked.mean(0)).abs()
        # Either mean is a sum with one more rounding, of its weights or of the quotient.
        assert (off <= 2 * sum_off(len(members) + 1) * stacked.abs().mean(0)).all()


@pytest.mark.parametrize("method", ["lemon", "lemon-trained"])
@pytest.mark.parametrize("start", ["cut", "random", "average"])
def test_lemon_starts_from_another_methods_operators(source, method, start):
    target = source.shape.with_depth(3)
    own = builder_of(start)(BuildContext(source, target, seed=3))
    started = builder_of(method)(BuildContext(source, target, seed=3, start=own))
    assert all(started.gamma[type].dense().equal(own.gamma[type].dense()) for type in LAYER_TYPES)
