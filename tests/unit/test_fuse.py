"""Fusing a model folder, against hand-cut models and a literal numpy computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import random_operators, smaller
from naive import absolute_terms, naive_fusion
from roundoff import sum_off

from lemon.architecture import LAYER_TYPES, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.operators import fuse as fuse_module
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense, OneHot, keeping
from lemon.operators.fuse import fuse_slices, fuse_tensors
from lemon.radii import Radii


@pytest.fixture(params=["tiny_model_folder", "tiny_untied_model_folder"])
def source(request) -> Checkpoint:
    return Checkpoint(request.getfixturevalue(request.param))


def weights_of(source: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: source.tensor(name) for name in source.specs}


def numpy_weights(source: Checkpoint) -> dict[str, np.ndarray]:
    return {name: weight.double().numpy() for name, weight in weights_of(source).items()}


def assert_fused_as(
    fused: dict[str, torch.Tensor], large: dict[str, np.ndarray], operators: Operators
) -> None:
    """What the Kronecker computation gives, but for what rounding does.

    A weight is a sum over layers of sums over two axes, the longest of which has 72 channels.
    """
    expected, sizes = naive_fusion(large, operators), absolute_terms(large, operators)
    assert fused.keys() == expected.keys()
    for name, weight in fused.items():
        assert weight.dtype == torch.float32
        off = np.abs(weight.double().numpy() - expected[name])
        assert (off <= 3 * sum_off(72) * sizes[name]).all(), name


def rows_of_identity(kept: list[int], size: int) -> Dense:
    return Dense(torch.eye(size)[kept])


def test_one_hot_gamma_is_the_hand_dropped_model_bit_for_bit(source):
    """Paper, equation 5: layer dropping as a layer operator; each type may keep other layers."""
    depth = source.shape.num_hidden_layers
    kept = {type: [0, 2, 3] if type in ("q", "k", "ln1") else [1, 2, 3] for type in LAYER_TYPES}
    gamma = {type: rows_of_identity(layers, depth) for type, layers in kept.items()}
    operators = Operators(source.shape, source.shape.with_depth(3), gamma=gamma)
    fused = dict(fuse_tensors(source, operators))
    large = weights_of(source)
    for type, layers in kept.items():
        for i, j in enumerate(layers):
            expected = large[layer_tensor_name(type, j)]
            assert fused[layer_tensor_name(type, i)].equal(expected)
    outside = [name for name, spec in source.specs.items() if spec.layer is None]
    assert all(fused[name].equal(large[name]) for name in outside)
    assert len(fused) == 3 * 9 + len(outside)


@pytest.mark.parametrize("radii", [Radii(), Radii(2, 2, 2), Radii(4, 4, 4), Radii(4, 8, 8)])
def test_selection_is_the_hand_sliced_model_bit_for_bit(source, radii):
    """Paper, equation 6: structured pruning as dimension operators, without and with layers."""
    shape, target = source.shape, smaller(source.shape, source.shape.num_hidden_layers)
    d, group = shape.head_dim, shape.group_size

    def spread(blocks: list[int], radius: int) -> list[int]:
        return [block * radius + channel for block in blocks for channel in range(radius)]

    def drawn(size: int, count: int, radius: int, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(size // radius, generator=generator)[: count // radius].tolist()

    hidden = drawn(shape.hidden_size, target.hidden_size, radii.hidden, 0)
    ffn = {j: drawn(64, 48, radii.ffn, 1 + j) for j in range(shape.num_hidden_layers)}
    heads = {j: [2, 0] if j % 2 else [1, 2] for j in range(shape.num_hidden_layers)}
    kv_blocks = {j: spread(kept, d // radii.attention) for j, kept in heads.items()}
    operators = Operators(
        shape,
        target,
        radii,
        hidden=rows_of_identity(hidden, shape.hidden_size // radii.hidden),
        attn={
            j: rows_of_identity(kept, shape.num_key_value_heads * d // radii.attention)
            for j, kept in kv_blocks.items()
        },
        ffn={j: rows_of_identity(kept, 64 // radii.ffn) for j, kept in ffn.items()},
    )
    fused, large = dict(fuse_tensors(source, operators)), weights_of(source)
    stream = spread(hidden, radii.hidden)
    assert fused["model.embed_tokens.weight"].equal(large["model.embed_tokens.weight"][:, stream])
    assert fused["model.norm.weight"].equal(large["model.norm.weight"][stream])
    kept = [0, 2, 3]
    gamma = {type: rows_of_identity(kept, shape.num_hidden_layers) for type in LAYER_TYPES}
    shallow = dict(
        fuse_tensors(source, replace(operators, target=target.with_depth(3), gamma=gamma))
    )
    for j in range(shape.num_hidden_layers):
        key_values = spread(heads[j], d)
        queries = spread(heads[j], group * d)
        neurons = spread(ffn[j], radii.ffn)
        expected = {
            "q": large[layer_tensor_name("q", j)][queries][:, stream],
            "k": large[layer_tensor_name("k", j)][key_values][:, stream],
            "v": large[layer_tensor_name("v", j)][key_values][:, stream],
            "o": large[layer_tensor_name("o", j)][stream][:, queries],
            "gate": large[layer_tensor_name("gate", j)][neurons][:, stream],
            "up": large[layer_tensor_name("up", j)][neurons][:, stream],
            "down": large[layer_tensor_name("down", j)][stream][:, neurons],
            "ln1": large[layer_tensor_name("ln1", j)][stream],
            "ln2": large[layer_tensor_name("ln2", j)][stream],
        }
        for type, weight in expected.items():
            assert fused[layer_tensor_name(type, j)].equal(weight), (type, j)
            if j in kept:
                assert shallow[layer_tensor_name(type, kept.index(j))].equal(weight), (type, j)


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_random_operators_equal_the_kronecker_computation(source, radius, monkeypatch):
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: 40_000)  # several slabs a tensor
    radii = Radii(radius, radius, radius)
    operators = random_operators(source.shape, smaller(source.shape), radii, seed=radius)
    assert_fused_as(dict(fuse_tensors(source, operators)), numpy_weights(source), operators)


@pytest.mark.parametrize("allowed", [1, 10_000, 100_000_000])
def test_slabs_do_not_change_kept_layers(source, monkeypatch, allowed):
    """A row, some rows or all rows at a time: layers kept beside a mixed one are the source's."""
    rows = torch.zeros(3, source.shape.num_hidden_layers)
    rows[0, 1] = rows[1, 2] = 1
    rows[2, :2] = 0.5
    gamma = {type: Dense(rows) for type in LAYER_TYPES}
    operators = Operators(source.shape, source.shape.with_depth(3), gamma=gamma)
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: allowed)
    if allowed == 1:
        slices = (rows for name, rows in fuse_slices(source, operators) if "q_proj" in name)
        assert next(slices).shape == (1, source.shape.hidden_size)
    for name, weight in fuse_tensors(source, operators):
        spec = source.specs[name]
        origin = layer_tensor_name(spec.type, spec.layer + 1) if spec.type else name
        if spec.layer != 2:
            assert weight.equal(source.tensor(origin)), name


def test_a_selection_of_layers_is_copied_as_it_is_stored(source):
    gamma = {type: keeping(range(1, 3), source.shape.num_hidden_layers) for type in LAYER_TYPES}
    operators = Operators(source.shape, source.shape.with_depth(2), gamma=gamma)
    copied = list(fuse_slices(source, operators))
    assert len(copied) == len(dict(copied))  # each tensor whole
    for name, weight in copied:
        spec = source.specs[name]
        stored = source.tensor(layer_tensor_name(spec.type, spec.layer + 1) if spec.type else name)
        assert weight.equal(stored) and weight.dtype == stored.dtype, name


@pytest.mark.parametrize("allowed", [1, 10_000, 100_000_000])
@pytest.mark.parametrize("radii", [Radii(), Radii(4, 8, 8), Radii(2, 4, 16)])
def test_indices_fuse_as_their_matrices_do(source, monkeypatch, radii, allowed):
    """In any order, with repeats and gaps, under a gamma that selects, scales and mixes."""
    shape, target = source.shape, smaller(source.shape)
    generator = torch.Generator().manual_seed(allowed)
    factors = {
        name: OneHot(torch.randint(-1, inputs, (outputs,), generator=generator), inputs)
        for name, (outputs, inputs) in factor_shapes(shape, target, radii).items()
    }
    mixing = torch.zeros(3, shape.num_hidden_layers)
    mixing[0, 2], mixing[1, 1], mixing[1, 3], mixing[2, 0] = -2.0, 1.0, 0.5, 1.0
    factors["gamma.up"] = factors["gamma.ln1"] = factors["gamma.o"] = Dense(mixing)
    matrices = {name: Dense(factor.dense()) for name, factor in factors.items()}
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: allowed)
    by_index, by_matrix = (
        dict(fuse_tensors(source, Operators.from_named(named, shape, target, radii)))
        for named in (factors, matrices)
    )
    assert by_index.keys() == by_matrix.keys()
    for name, weight in by_matrix.items():
        assert by_index[name].equal(weight), name
        assert by_index[name].dtype == torch.float32


@pytest.mark.parametrize("scale", [2.5, -1.0, 0.125])
def test_a_row_with_one_entry_is_that_multiple_of_its_layer(source, scale):
    """The entry need not be 1, and beside it stand rows that mix."""
    gamma = torch.zeros(3, source.shape.num_hidden_layers)
    gamma[0, 2], gamma[1, 1], gamma[2, 0], gamma[2, 3] = scale, 1.0, 0.5, 0.25
    operators = Operators(
        source.shape, source.shape.with_depth(3), gamma=dict.fromkeys(LAYER_TYPES, Dense(gamma))
    )
    fused, large = dict(fuse_tensors(source, operators)), weights_of(source)
    for type in LAYER_TYPES:
        first, second = (large[layer_tensor_name(type, j)] for j in (0, 3))
        assert fused[layer_tensor_name(type, 0)].equal(scale * large[layer_tensor_name(type, 2)])
        assert fused[layer_tensor_name(type, 1)].equal(large[layer_tensor_name(type, 1)])
        # Multiples of powers of two are exact, so that the sum is rounded once in any order.
        assert fused[layer_tensor_name(type, 2)].equal(0.5 * first + 0.25 * second)


def test_of_one_hot_rows_no_more_is_read_than_is_chosen_from(source, monkeypatch):
    """A slab of an ascending selection reads its own range, so that every row is read once."""
    depth, kept_layers = source.shape.num_hidden_layers, [1, 3]
    target = replace(source.shape, intermediate_size=48, num_hidden_layers=2)
    kept = keeping([*range(8, 32), *range(40, 64)], 64)
    halved = Dense(keeping(kept_layers, depth).dense() / 2)  # else whole tensors are copied
    operators = Operators(
        source.shape,
        target,
        gamma=dict.fromkeys(LAYER_TYPES, halved),
        ffn=dict.fromkeys(range(depth), kept),
    )
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: 1)
    read, rows = [], source.rows

    def counted(name, first, last):
        read.append((name, last - first))
        return rows(name, first, last)

    monkeypatch.setattr(source, "rows", counted)
    fused = dict(fuse_tensors(source, operators))
    up = layer_tensor_name("up", 1)
    assert {source.specs[name].layer for name, _ in read} == {None, *kept_layers}
    assert sum(count for name, count in read if name == up) == 48
    assert fused[layer_tensor_name("up", 0)].equal(source.tensor(up)[kept.chosen] / 2)


def test_factors_may_be_given_for_some_layers_only(source, monkeypatch):
    """Absent is the identity, layer by layer; slabs keep whole heads together all the same."""
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: 1)
    drawn = random_operators(source.shape, source.shape.with_depth(3))
    operators = Operators(
        source.shape,
        drawn.target,
        gamma=drawn.gamma,
        attn={1: drawn.attn[1]},
        ffn={2: drawn.ffn[2]},
    )
    assert_fused_as(dict(fuse_tensors(source, operators)), numpy_weights(source), operators)


def test_a_row_of_zeros_gives_a_layer_of_zeros(source):
    gamma = {type: Dense(torch.zeros(2, source.shape.num_hidden_layers)) for type in LAYER_TYPES}
    operators = Operators(source.shape, source.shape.with_depth(2), gamma=gamma)
    fused = dict(fuse_tensors(source, operators))
    assert not fused[layer_tensor_name("up", 1)].any()


def test_equal_rows_of_gamma_give_equal_bits_and_rows_between_them_their_own(source):
    one, other = torch.zeros(2, source.shape.num_hidden_layers)
    one[:2], other[1:3] = 0.5, torch.tensor([0.25, 0.75])
    gamma = {type: Dense(torch.stack([one, other, one, one])) for type in LAYER_TYPES}
    operators = Operators(source.shape, source.shape.with_depth(4), gamma=gamma)
    fused = dict(fuse_tensors(source, operators))
    ups = [fused[layer_tensor_name("up", layer)] for layer in range(4)]
    stored = [source.tensor(layer_tensor_name("up", layer)).float() for layer in range(3)]
    torch.testing.assert_close(ups[1], 0.25 * stored[1] + 0.75 * stored[2])
    for layer in (0, 2, 3):
        torch.testing.assert_close(ups[layer], (stored[0] + stored[1]) / 2)
    assert ups[2].equal(ups[3])
