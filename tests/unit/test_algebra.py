"""The operator algebra: legal shapes, parameter counts, gradients through a real model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from models import random_operators, smaller

from lemon.architecture import Axis, LlamaShape, TensorSpec, layer_tensor_name, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense
from lemon.radii import Radii


@pytest.fixture(scope="module")
def source(tiny_model_folder) -> Checkpoint:
    return Checkpoint(tiny_model_folder)


def test_shapes_of_the_factors(source):
    shapes = factor_shapes(source.shape, smaller(source.shape), Radii(hidden=4, attention=8, ffn=2))
    assert shapes["gamma.ln1"] == (3, 5)
    assert shapes["hidden"] == (40 // 4, 72 // 4)
    assert shapes["attn.4"] == (2 * 8 // 8, 3 * 8 // 8)
    assert shapes["ffn.0"] == (48 // 2, 64 // 2)
    assert len(shapes) == 9 + 1 + 5 + 5


def test_size_of_the_operators_of_the_paper():
    """Section 11 of the restated method: 7B -> 2.7B at radii 2, 128, 2 is 611.3 million."""
    large = LlamaShape(32, 4096, 11008, 32, 32, 128, 32000)
    small = LlamaShape(32, 2560, 6912, 20, 20, 128, 32000)
    shapes = factor_shapes(large, small, Radii(hidden=2, attention=128, ffn=2))
    count = sum(rows * columns for rows, columns in shapes.values())
    assert count == 9 * 32 * 32 + 2_621_440 + 32 * (20 * 32 + 6912 * 11008 // 4)
    assert round(count / 1e6, 1) == 611.3


def test_named_factors_rebuild_the_same_operators(source):
    operators = random_operators(source.shape, smaller(source.shape))
    named = dict(operators.named_factors())
    again = Operators.from_named(named, operators.source, operators.target, operators.radii)
    assert dict(again.named_factors()).keys() == named.keys()
    assert all(again_t is named[name] for name, again_t in again.named_factors())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma.q": Dense(torch.ones(3, 4))}, r"gamma.q is \[3, 4\].*must be \[3, 5\]"),
        ({"hidden": Dense(torch.ones(72, 40))}, r"hidden is \[72, 40\].*must be \[40, 72\]"),
        ({"gamma.w": Dense(torch.ones(3, 5))}, r"gamma.w is unknown; legal names are gamma.\{q,k"),
        ({"attn.5": Dense(torch.ones(16, 24))}, r"attn.5 is unknown.*j = 0 to 4"),
        ({"ffn.1": None}, r"ffn.1 is missing.*\[48, 64\]"),
        ({"gamma.ln2": None}, r"gamma.ln2 is missing"),
    ],
)
def test_a_factor_at_fault_is_named_with_its_legal_shape(source, change, message):
    operators = random_operators(source.shape, smaller(source.shape))
    factors = {**dict(operators.named_factors()), **change}
    factors = {name: factor for name, factor in factors.items() if factor is not None}
    with pytest.raises(BadInput, match=message):
        Operators.from_named(factors, operators.source, operators.target, operators.radii)


@pytest.mark.parametrize(
    ("size", "change"),
    [
        ("head_dim", {"head_dim": 4}),
        ("group_size", {"num_attention_heads": 3}),
        ("vocab_size", {"vocab_size": 100}),
        ("tie_word_embeddings", {"tie_word_embeddings": False}),
    ],
)
def test_what_fusing_keeps_must_be_equal(source, size, change):
    with pytest.raises(BadInput, match=f"{size} is .* in the source and .* fusing keeps it"):
        Operators(source.shape, replace(source.shape, **change))


def test_nothing_present_is_the_identity(source):
    operators = Operators(source.shape, source.shape)
    assert all(operators.axis_map(axis, 0) is None for axis in Axis)


def map_widths(operators: Operators, weight: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """`Row W Col^T` of one source layer."""
    row = operators.axis_map(spec.axes[0], spec.layer)
    if len(spec.axes) == 2 and (column := operators.axis_map(spec.axes[1], spec.layer)):
        weight = column.columns(weight)
    return row.rows(weight) if row else weight


def test_gradients_of_every_family_agree_with_finite_differences(source):
    """In float64, one entry of each factor, for a loss that every fused weight enters."""
    target = smaller(source.shape)
    start = random_operators(source.shape, target, Radii(2, 8, 2))
    factors = {n: factor.dense().double().requires_grad_() for n, factor in start.named_factors()}
    held = {name: Dense(factor) for name, factor in factors.items()}
    operators = Operators.from_named(held, source.shape, target, start.radii)
    large = {name: source.tensor(name).double() for name in source.specs}
    generator = torch.Generator().manual_seed(1)
    slopes = {
        spec.name: torch.randn(spec.shape, generator=generator, dtype=torch.float64)
        for spec in tensor_specs(target)
    }

    def fused() -> dict[str, torch.Tensor]:
        mapped = {
            name: map_widths(operators, large[name], spec) for name, spec in source.specs.items()
        }
        small = {
            name: weight for name, weight in mapped.items() if source.specs[name].layer is None
        }
        for type, gamma in ((t, factor.dense()) for t, factor in operators.gamma.items()):
            stack = torch.stack([mapped[layer_tensor_name(type, j)] for j in range(gamma.shape[1])])
            mixed = torch.tensordot(gamma, stack, 1)
            small |= {layer_tensor_name(type, i): weight for i, weight in enumerate(mixed)}
        return small

    def loss() -> torch.Tensor:
        return sum((slopes[name] * weight.tanh()).sum() for name, weight in fused().items())

    loss().backward()
    for name, factor in factors.items():
        entry = tuple(int(torch.randint(size, (), generator=generator)) for size in factor.shape)
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                factor[entry] += step
                values.append(loss().item())
            factor[entry] += 1e-6
        # Sums of some thousand terms in float64, added as trees, are off by 1e-14 or so, and the
        # slope by 1e-14 / 2e-6.
        difference = (values[0] - values[1]) / 2e-6
        assert factor.grad[entry].item() == pytest.approx(difference, rel=1e-6, abs=1e-6), name
