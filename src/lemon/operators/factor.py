"""The small factor `a` of an operator: a matrix, or for each output the index of at most one input.

Shapes: O outputs and I inputs, both counted in blocks of the receptive field; n values in a block.
No torch is imported before a factor is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from lemon.errors import BadInput

if TYPE_CHECKING:
    import torch

# From this many values per block on, one small product per matrix is faster than one large product
# of the transposed matrices, whose copies cost more than the product (measured at 576 -> 384).
WIDE_BLOCK = 8

NOTHING = -1  # the index of an output that is zero


@dataclass(frozen=True, eq=False)
class Dense:
    """Every output is a weighted sum of all inputs: `matrix` [O, I], of a float format."""

    matrix: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(O, I)."""
        return tuple(self.matrix.shape)

    def dense(self) -> torch.Tensor:
        """The factor as a matrix [O, I]."""
        return self.matrix

    def outputs(self, first: int, last: int) -> Dense:
        """The part that makes outputs first to last - 1."""
        return Dense(self.matrix[first:last])

    def apply(self, blocks: torch.Tensor) -> torch.Tensor:
        """Map [.., I, n] to [.., O, n] in the format of `blocks`. Differentiable."""
        matrix = self.matrix.to(blocks.dtype)
        if blocks.dim() == 2 or blocks.shape[-1] >= WIDE_BLOCK:
            return matrix @ blocks
        *others, inputs, width = blocks.shape
        mixed = blocks.transpose(-1, -2).reshape(-1, inputs) @ matrix.T
        return mixed.view(*others, width, -1).transpose(-1, -2)


@dataclass(frozen=True, eq=False)
class OneHot:
    """Every output copies one input, or is zero.

    `chosen` [O] int64 holds the index of that input, 0 to I - 1, or `NOTHING`. Where several source
    layers feed one target layer, zero outputs leave room for those of another layer.

    Raises:
        BadInput: an index is outside that range.
    """

    chosen: torch.Tensor
    num_inputs: int

    def __post_init__(self) -> None:
        for index in map(int, self.chosen.aminmax()):
            if not NOTHING <= index < self.num_inputs:
                raise BadInput(f"chooses input {index}; there are 0 to {self.num_inputs - 1}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(O, I)."""
        return len(self.chosen), self.num_inputs

    @cached_property
    def empty(self) -> torch.Tensor | None:
        """Which outputs are zero, bool [O]; None if none is."""
        empty = self.chosen == NOTHING
        return empty if empty.any() else None

    def dense(self) -> torch.Tensor:
        """The factor as a matrix [O, I] float32, with at most a single 1 in each row."""
        import torch

        copies = (self.chosen != NOTHING).float()[:, None]
        places = self.chosen.clamp(min=0)[:, None]
        return torch.zeros(self.shape).scatter_(1, places, copies)

    def outputs(self, first: int, last: int) -> OneHot:
        """The part that makes outputs first to last - 1."""
        return OneHot(self.chosen[first:last], self.num_inputs)

    def apply(self, blocks: torch.Tensor) -> torch.Tensor:
        """Copy the chosen inputs of [.., I, n] to [.., O, n], bit for bit."""
        if self.empty is None:
            return blocks.index_select(-2, self.chosen)
        copied = blocks.index_select(-2, self.chosen.clamp(min=0))
        return copied.masked_fill(self.empty[:, None], 0)


Factor: TypeAlias = Dense | OneHot


def keeping(chosen: Sequence[int], num_inputs: int) -> OneHot:
    """The factor whose outputs are the inputs `chosen`, in this order."""
    import torch

    return OneHot(torch.tensor(chosen), num_inputs)


def one_hot(factor: Factor) -> OneHot | None:
    """The same factor as indices; None if a row of its matrix is not one-hot."""
    if isinstance(factor, OneHot):
        return factor
    found = OneHot(factor.matrix.argmax(dim=1), factor.matrix.shape[1])
    return found if found.dense().equal(factor.matrix) else None
