"""The small factor `a` of an operator: a matrix, or for each output the index of one input.

Shapes: O outputs and I inputs, both counted in blocks of the receptive field; n values in a block.
No torch is imported before a factor is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lemon.errors import BadInput

if TYPE_CHECKING:
    import torch

# From this many values per block on, one small product per matrix is faster than one large product
# of the transposed matrices, whose copies cost more than the product (measured at 576 -> 384).
WIDE_BLOCK = 8


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
    """Every output copies one input: `chosen` [O] int64 holds its index, 0 to I - 1.

    Raises:
        BadInput: an index is outside that range.
    """

    chosen: torch.Tensor
    num_inputs: int

    def __post_init__(self) -> None:
        for index in map(int, self.chosen.aminmax()):
            if not 0 <= index < self.num_inputs:
                raise BadInput(f"chooses input {index}; there are 0 to {self.num_inputs - 1}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(O, I)."""
        return len(self.chosen), self.num_inputs

    def dense(self) -> torch.Tensor:
        """The factor as a matrix [O, I] float32, with a single 1 in each row."""
        import torch

        return torch.zeros(self.shape).scatter_(1, self.chosen[:, None], 1.0)

    def outputs(self, first: int, last: int) -> OneHot:
        """The part that makes outputs first to last - 1."""
        return OneHot(self.chosen[first:last], self.num_inputs)

    def apply(self, blocks: torch.Tensor) -> torch.Tensor:
        """Copy the chosen inputs of [.., I, n] to [.., O, n], bit for bit."""
        return blocks.index_select(-2, self.chosen)


Factor: TypeAlias = Dense | OneHot


def keeping(chosen: list[int] | range, num_inputs: int) -> OneHot:
    """The factor whose outputs are the inputs `chosen`, in this order."""
    import torch

    return OneHot(torch.tensor(chosen), num_inputs)


def one_hot(factor: Factor) -> OneHot | None:
    """The same factor as indices; None if a row of its matrix is not one-hot."""
    if isinstance(factor, OneHot):
        return factor
    found = OneHot(factor.matrix.argmax(dim=1), factor.matrix.shape[1])
    return found if found.dense().equal(factor.matrix) else None
