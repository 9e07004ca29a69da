"""Factors as matrices and as indices: the same maps, and the indices change no bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lemon.errors import BadInput
from lemon.operators.factor import NOTHING, Dense, OneHot, keeping, one_hot
from lemon.operators.receptive_field import AxisMap

small = st.integers(1, 4)


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9])
def test_a_factor_mixes_the_inputs_of_each_matrix(width):
    """Narrow and wide blocks go through other products."""
    matrix = torch.tensor([[2.0, -1.0, 0.0], [0.0, 3.0, 5.0]])
    blocks = torch.arange(4.0 * 3 * width).view(4, 3, width)
    expected = torch.stack(
        [2 * blocks[:, 0] - blocks[:, 1], 3 * blocks[:, 1] + 5 * blocks[:, 2]], dim=1
    )
    assert Dense(matrix).apply(blocks).equal(expected)
    assert Dense(matrix).apply(blocks[2]).equal(expected[2])
    assert Dense(matrix).outputs(1, 2).apply(blocks).equal(expected[:, 1:])
    assert Dense(matrix).apply(blocks.bfloat16()).dtype == torch.bfloat16


def test_indices_are_the_matrix_with_a_one_in_each_row():
    factor = keeping([3, 0, 3], 5)
    expected = [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert factor.shape == (3, 5)
    assert factor.dense().tolist() == expected
    assert factor.dense().dtype == torch.float32
    assert factor.outputs(0, 2).dense().tolist() == expected[:2]


@given(
    out=small,
    into=small,
    radius=st.integers(1, 3),
    copies=small,
    per_head=small,
    other=st.integers(1, 9),
    data=st.data(),
)
def test_indices_copy_what_the_matrix_multiplies_by_one(
    out, into, radius, copies, per_head, other, data
):
    """Also blocks of grouped query heads, repeated ones and those in another order."""
    inputs = into * per_head
    chosen = data.draw(
        st.lists(st.integers(-1, inputs - 1), min_size=out * per_head, max_size=out * per_head)
    )
    factor = keeping(chosen, inputs)
    by_index, by_matrix = (
        AxisMap(f, radius, copies, per_head) for f in (factor, Dense(factor.dense()))
    )
    weight = torch.randn(inputs * copies * radius, other)
    assert by_index.rows(weight).equal(by_matrix.rows(weight))
    assert by_index.rows(weight[:, 0]).equal(by_matrix.rows(weight[:, 0]))
    assert by_index.columns(weight.T).equal(by_matrix.columns(weight.T))
    first, last = copies * radius * per_head, out * copies * radius * per_head
    if first < last:
        part = by_index.output_rows(first, last)
        assert part.rows(weight).equal(by_matrix.rows(weight)[first:last])


def test_an_output_without_an_input_is_zero():
    factor = keeping([1, NOTHING], 2)
    assert factor.dense().tolist() == [[0, 1], [0, 0]]
    assert factor.apply(torch.tensor([[2.0, 3.0], [5.0, 7.0]])).tolist() == [[5, 7], [0, 0]]


def test_a_copy_keeps_the_sign_of_zero_and_the_number_format():
    weight = torch.tensor([[-0.0, 1.0], [2.0, 3.0]], dtype=torch.bfloat16)
    copied = AxisMap(keeping([0], 2), 1).rows(weight)
    assert copied.dtype == torch.bfloat16 and copied[0].signbit().tolist() == [True, False]


@pytest.mark.parametrize("index", [-2, 3, 2**40])
def test_an_index_that_no_input_has_is_refused(index):
    with pytest.raises(BadInput, match=f"^chooses input {index}; there are 0 to 2$"):
        keeping([0, index, 1], 3)


@pytest.mark.parametrize("row", [[0, 0, 0], [0, 2, 0], [0, -1, 0], [1, 1, 0], [1, 1e-7, 0]])
def test_a_matrix_is_indices_only_where_every_row_is_one_hot(row):
    one = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    found = one_hot(Dense(one))
    assert isinstance(found, OneHot) and found.dense().equal(one)
    assert one_hot(found) is found
    assert one_hot(Dense(torch.cat([one, torch.tensor([row], dtype=torch.float32)]))) is None
