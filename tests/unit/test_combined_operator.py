"""The combined operator as one explicit matrix: `M = (gamma (x) I) blockdiag_j(Col_j (x) Row_j)`.

Paper, section 3.5 and the matrix form `M = L_layer R_dim`. M acts on the column-major vecs of one
type's weights in all source layers, stacked, since `vec(Row W Col^T) = (Col (x) Row) vec(W)`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import MINUTE, MINUTE_TARGET, random_operators, write_tiny_model
from naive import absolute_terms, axis_operator
from roundoff import sum_off
from safetensors.torch import load_file, save_file

from lemon.architecture import LAYER_TYPES, LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse, fuse_tensors
from lemon.radii import Radii

SOURCE, TARGET = LlamaShape(**MINUTE), LlamaShape(**MINUTE_TARGET)
# A weight is a sum over layers of sums over two axes, the longest of which has 16 channels.
ROUNDED = 3 * sum_off(16)
WIDE, DEEP = TARGET.with_depth(SOURCE.num_hidden_layers), SOURCE.with_depth(2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Weights that are whole numbers, so that whole factors give exact results in float32."""
    folder = write_tiny_model(tmp_path_factory.mktemp("minute"), **MINUTE)
    file = folder / "model.safetensors"
    whole = {name: (20 * weight).round() for name, weight in load_file(file).items()}
    save_file(whole, file, metadata={"format": "pt"})
    return Checkpoint(folder)


def vec(weight: torch.Tensor) -> np.ndarray:
    return weight.double().numpy().flatten(order="F")


def combined(operators: Operators, type: str) -> np.ndarray:
    """M of one layer type, [L2 x entries of a small weight, L1 x entries of a large one]."""
    depth, (_, axes) = operators.source.num_hidden_layers, LAYER_TYPES[type]
    blocks = []
    for j in range(depth):
        row = axis_operator(operators, axes[0], j)
        blocks.append(np.kron(axis_operator(operators, axes[1], j), row) if axes[1:] else row)
    height, width = blocks[0].shape
    dimension = np.zeros((depth * height, depth * width))
    for j, block in enumerate(blocks):
        dimension[j * height : (j + 1) * height, j * width : (j + 1) * width] = block
    gamma = operators.gamma[type].dense().double().numpy() if operators.gamma else np.eye(depth)
    return np.kron(gamma, np.eye(height)) @ dimension


def fused_by_matrix(
    source: Checkpoint, operators: Operators, *, absolute: bool = False
) -> dict[str, np.ndarray]:
    """Every layer's tensors of the small model by M, as vecs; or the sums of absolute terms."""
    small = {}
    for type in LAYER_TYPES:
        large = np.concatenate([vec(source.tensor(layer_tensor_name(type, j))) for j in range(3)])
        matrix = combined(operators, type)
        stacked = np.abs(matrix) @ np.abs(large) if absolute else matrix @ large
        for i, part in enumerate(np.split(stacked, operators.target.num_hidden_layers)):
            small[layer_tensor_name(type, i)] = part
    return small


def materialised(source: Checkpoint, operators: Operators, out: Path) -> Checkpoint:
    """The fused model on disk, read again."""
    file = out / "operators.safetensors"
    save_operators(file, operators, source_digest=source.digest(), method="random")
    fuse(source.path, file, out / "model")
    return Checkpoint(out / "model")


def largest_difference(fused: Checkpoint, expected: dict[str, torch.Tensor]) -> float:
    assert set(fused.specs) == set(expected)
    return max((fused.tensor(n) - weight).abs().max().item() for n, weight in expected.items())


def assert_fused_alike(found: Checkpoint, source: Checkpoint, operators: Operators) -> None:
    """The model that one fusing makes, which both make in float32."""
    expected = dict(fuse_tensors(source, operators))
    weights = {name: source.tensor(name).double().numpy() for name in source.specs}
    sizes = absolute_terms(weights, operators)
    assert set(found.specs) == set(expected)
    for name, weight in expected.items():
        off = (found.tensor(name) - weight).abs().numpy()
        assert (off <= 2 * ROUNDED * sizes[name]).all(), name


@pytest.mark.parametrize("radius", [1, 2, 4])
@pytest.mark.parametrize("attention", [1, 2, 4])
def test_fusing_is_the_matrix_on_the_stacked_weights(source, radius, attention):
    operators = random_operators(SOURCE, TARGET, Radii(radius, attention, radius), seed=radius)
    fused = dict(fuse_tensors(source, operators))
    sizes = fused_by_matrix(source, operators, absolute=True)
    for name, expected in fused_by_matrix(source, operators).items():
        assert (np.abs(vec(fused[name]) - expected) <= ROUNDED * sizes[name]).all(), name


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), radius=st.sampled_from([1, 2, 4]), most=st.integers(1, 3))
def test_whole_factors_give_the_matrix_exactly(source, seed, radius, most):
    radii, numbers = Radii(radius, radius, radius), np.random.default_rng(seed)
    factors = {
        name: Dense(torch.from_numpy(numbers.integers(-most, most + 1, shape)).float())
        for name, shape in factor_shapes(SOURCE, TARGET, radii).items()
    }
    operators = Operators.from_named(factors, SOURCE, TARGET, radii)
    fused = dict(fuse_tensors(source, operators))
    for name, expected in fused_by_matrix(source, operators).items():
        assert np.array_equal(vec(fused[name]), expected), name


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_widths_then_layers_in_two_models_is_the_combined_operator(source, tmp_path, radius):
    both = random_operators(SOURCE, TARGET, Radii(radius, radius, radius), seed=radius)
    first = materialised(source, replace(both, target=WIDE, gamma={}), tmp_path / "first")
    second = Operators(WIDE, TARGET, gamma=both.gamma)
    assert_fused_alike(materialised(first, second, tmp_path / "second"), source, both)


def layers_first(source: Checkpoint, both: Operators, attn, ffn, out: Path) -> Checkpoint:
    """Layers, then widths with operators of the layers that are left, in two models."""
    deep = materialised(source, Operators(SOURCE, DEEP, gamma=both.gamma), out / "first")
    widths = Operators(DEEP, TARGET, both.radii, hidden=both.hidden, attn=attn, ffn=ffn)
    return materialised(deep, widths, out / "second")


def test_the_orders_agree_where_all_layers_share_their_operators(source, tmp_path):
    drawn = random_operators(SOURCE, TARGET)
    attn, ffn = drawn.attn[0], drawn.ffn[0]
    both = replace(drawn, attn=dict.fromkeys(range(3), attn), ffn=dict.fromkeys(range(3), ffn))
    other = layers_first(source, both, {0: attn, 1: attn}, {0: ffn, 1: ffn}, tmp_path)
    assert_fused_alike(other, source, both)


def test_layers_first_is_another_model_where_each_layer_has_its_own_operators(source, tmp_path):
    """Erratum E28: the listing's order has no place for the operators of the layers that go."""
    both = random_operators(SOURCE, TARGET)
    attn, ffn = ({i: of[i] for i in range(2)} for of in (both.attn, both.ffn))
    other = layers_first(source, both, attn, ffn, tmp_path)
    expected = dict(fuse_tensors(source, both))
    largest = max(weight.abs().max().item() for weight in expected.values())
    assert largest_difference(other, expected) > 0.1 * largest


def test_no_operator_of_the_layers_left_makes_up_for_it(source):
    """The best A that maps gate, up and down of a mixed layer alike still misses the target."""
    both = random_operators(SOURCE, TARGET)
    layers_only = dict(fuse_tensors(source, Operators(SOURCE, DEEP, gamma=both.gamma)))
    expected = dict(fuse_tensors(source, both))
    hidden = both.hidden.dense()

    def by_neuron(weights: dict[str, torch.Tensor], mapped: torch.Tensor | None) -> torch.Tensor:
        """[neurons, 3 x hidden] of layer 0, the stream mapped by B where it is given."""
        gate, up, down = (weights[layer_tensor_name(t, 0)] for t in ("gate", "up", "down"))
        sides = (gate, up, down.T)
        return torch.cat([side if mapped is None else side @ mapped.T for side in sides], dim=1)

    mixed, wanted = by_neuron(layers_only, hidden), by_neuron(expected, None)
    best = torch.linalg.lstsq(mixed.T, wanted.T).solution.T
    assert best.shape == (TARGET.intermediate_size, SOURCE.intermediate_size)
    assert (best @ mixed - wanted).norm() > 0.1 * wanted.norm()
