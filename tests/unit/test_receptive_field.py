"""Operators with receptive fields, against the Kronecker products that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import GROUPED_TIED
from naive import on_queries
from roundoff import FLOAT64, sum_off
from torch.utils.flop_counter import FlopCounterMode

from lemon.architecture import Axis, LlamaShape
from lemon.errors import BadInput
from lemon.operators.factor import Dense
from lemon.operators.receptive_field import AxisMap
from lemon.radii import Radii

small = st.integers(1, 4)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_product(found: torch.Tensor, matrix: torch.Tensor, weight: torch.Tensor) -> None:
    """`matrix @ weight`, both computed in float64."""
    allowed = 2 * sum_off(matrix.shape[1], FLOAT64) * (matrix.abs() @ weight.abs())
    assert ((found - matrix @ weight).abs() <= allowed).all()


def assert_maps(operator: AxisMap, matrix: torch.Tensor, weight: torch.Tensor) -> None:
    """On rows and on columns the operator is the matrix."""
    assert_product(operator.rows(weight), matrix, weight)
    assert_product(operator.columns(weight.T).T, matrix, weight)
    assert_product(operator.rows(weight[:, 0]), matrix, weight[:, 0])


def test_two_blocks_of_two_channels_by_hand():
    factor = torch.tensor([[2.0, -1.0]])
    weight = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    # First channels of both blocks are rows 0 and 2, second channels are rows 1 and 3.
    expected = torch.tensor([[2 * 1 - 3.0, 2 * 10 - 30.0], [2 * 2 - 4.0, 2 * 20 - 40.0]])
    assert torch.equal(AxisMap(Dense(factor), 2).rows(weight), expected)
    assert torch.equal(AxisMap(Dense(factor), 2).columns(weight.T), expected.T)


@given(out=small, into=small, radius=st.integers(1, 12), other=st.integers(1, 5))
def test_equals_the_kronecker_product(out, into, radius, other):
    factor, weight = normal(out, into), normal(into * radius, other, seed=1)
    dense = torch.from_numpy(np.kron(factor.numpy(), np.eye(radius)))
    assert_maps(AxisMap(Dense(factor), radius), dense, weight)


@given(heads=st.integers(2, 4), into=small, radius=small, copies=small, blocks=small)
def test_some_output_rows_are_those_of_the_whole_map(heads, into, radius, copies, blocks):
    factor = Dense(normal(heads * blocks, into * blocks))
    whole = AxisMap(factor, radius, copies=copies, blocks_per_head=blocks)
    unit = radius * copies * blocks
    assert whole.rows_per_unit == unit
    weight = normal(into * unit, 3, seed=1)
    some = whole.output_rows(unit, 2 * unit).rows(weight)
    torch.testing.assert_close(some, whole.rows(weight)[unit : 2 * unit])


@given(out=small, into=small, group=small, halvings=st.integers(0, 3), other=st.integers(1, 4))
def test_query_heads_of_a_group_are_mixed_as_their_key_value_head(
    out, into, group, halvings, other
):
    sizes = {**GROUPED_TIED, "num_attention_heads": group * into, "num_key_value_heads": into}
    source = LlamaShape(**sizes)
    target = LlamaShape(**{**sizes, "num_attention_heads": group * out, "num_key_value_heads": out})
    blocks = 2**halvings
    radius = source.head_dim // blocks
    factor = normal(out * blocks, into * blocks)
    dense = torch.from_numpy(on_queries(np.kron(factor, np.eye(radius)), source, target))
    operator = AxisMap(Dense(factor), radius, copies=group, blocks_per_head=blocks)
    weight = normal(source.axis_size(Axis.QUERY), other, seed=1)
    assert_maps(operator, dense, weight)


def test_whole_heads_on_queries_are_alpha_x_group_x_head():
    alpha = normal(2, 3)
    operator = AxisMap(Dense(alpha), 8, copies=2)
    weight = normal(3 * 2 * 8, 5, seed=1)
    assert_maps(operator, torch.from_numpy(np.kron(np.kron(alpha, np.eye(2)), np.eye(8))), weight)


@settings(max_examples=20)
@given(first=small, second=small, third=small, radius=st.sampled_from([1, 2, 8]))
def test_maps_compose_and_the_identity_changes_nothing(first, second, third, radius):
    a, b = normal(second, first), normal(third, second, seed=1)
    weight = normal(first * radius, 3, seed=2)
    step_by_step = AxisMap(Dense(b), radius).rows(AxisMap(Dense(a), radius).rows(weight))
    sizes = AxisMap(Dense(b.abs() @ a.abs()), radius).rows(weight.abs())
    # Two sums one after the other, on both sides.
    allowed = 4 * sum_off(max(first, second), FLOAT64) * sizes
    assert ((step_by_step - AxisMap(Dense(b @ a), radius).rows(weight)).abs() <= allowed).all()
    identity = AxisMap(Dense(torch.eye(first, dtype=torch.float64)), radius)
    assert torch.equal(identity.rows(weight), weight)


@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize("form", [(1, 1, 1), (9, 1, 1), (2, 2, 4)])
def test_gradients_agree_with_finite_differences(side, form):
    radius, copies, blocks = form
    factor = normal(1 * blocks, 2 * blocks).requires_grad_()
    weight = normal(2 * blocks * copies * radius, 2, seed=1)
    weight = (weight if side == "rows" else weight.T).requires_grad_()

    def apply(factor, weight):
        return getattr(AxisMap(Dense(factor), radius, copies, blocks), side)(weight)

    assert torch.autograd.gradcheck(apply, (factor, weight))


@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize("radius", [1, 2, 4, 8, 64])
def test_counted_multiply_adds_fall_as_one_by_the_radius(side, radius):
    """Paper, section 3.4. Going backward takes as many for the factor and for the weight each."""
    large, small, other = 192, 128, 10
    factor = torch.zeros(small // radius, large // radius, requires_grad=True)
    weight = torch.zeros(large, other) if side == "rows" else torch.zeros(other, large)
    operator = AxisMap(Dense(factor), radius)
    with FlopCounterMode(display=False) as forward:
        mapped = getattr(operator, side)(weight.requires_grad_())
    with FlopCounterMode(display=False) as backward:
        mapped.sum().backward()
    assert forward.get_total_flops() * radius == 2 * small * large * other
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_multiply_adds_on_grouped_queries_fall_alike(radius):
    heads, group, head = 3, 2, 8
    factor = torch.zeros(2 * head // radius, heads * head // radius)
    operator = AxisMap(Dense(factor), radius, copies=group, blocks_per_head=head // radius)
    with FlopCounterMode(display=False) as counter:
        operator.rows(torch.zeros(heads * group * head, 10))
    assert counter.get_total_flops() * radius == 2 * group * (2 * head) * (heads * head) * 10


@pytest.mark.parametrize(
    ("radii", "text"),
    [
        (Radii(), "1-1"),
        (Radii(hidden=2, attention=128, ffn=2), "128-2"),
        (Radii(hidden=4, attention=128, ffn=2), "128-2 (hidden 4)"),
    ],
)
def test_radii_are_written_as_in_the_paper(radii, text):
    assert str(radii) == text


def test_a_factor_is_smaller_by_the_radius_on_both_sides():
    source = LlamaShape(**GROUPED_TIED)
    target = LlamaShape(**{**GROUPED_TIED, "hidden_size": 40, "intermediate_size": 48})
    radii = Radii(hidden=8, attention=4, ffn=16)
    assert radii.factor_shape(Axis.HIDDEN, source, target) == (40 // 8, 72 // 8)
    assert radii.factor_shape(Axis.KEY_VALUE, source, target) == (24 // 4, 24 // 4)
    assert radii.factor_shape(Axis.FFN, source, target) == (48 // 16, 64 // 16)


@pytest.mark.parametrize(
    ("axis", "radius", "fault", "legal"),
    [
        (Axis.HIDDEN, 3, "does not divide its sizes 72 and 40", "1, 2, 4, 8"),
        (Axis.FFN, 32, "does not divide its sizes 64 and 48", "1, 2, 4, 8, 16"),
        (Axis.KEY_VALUE, 5, "does not divide its sizes 24 and 24", "1, 2, 4, 8, 24"),
        # 12 divides 24, but a block of 12 would hold one head of 8 channels and half of the next.
        (Axis.KEY_VALUE, 12, "cuts heads of 8 channels unevenly", "1, 2, 4, 8, 24"),
    ],
)
def test_a_radius_that_does_not_fit_is_refused_with_the_legal_ones(axis, radius, fault, legal):
    source = LlamaShape(**GROUPED_TIED)
    target = LlamaShape(**{**GROUPED_TIED, "hidden_size": 40, "intermediate_size": 48})
    expected = f"receptive field {radius} on the {axis} axis {fault}; legal values are {legal}"
    with pytest.raises(BadInput, match=f"^{expected}$"):
        Radii(radius, radius, radius).factor_shape(axis, source, target)
