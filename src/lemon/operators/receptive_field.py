"""Applying `A = a (x) I_r` along one axis of a weight without ever forming A.

Paper, section 3.4: contiguous channels are tied in blocks of r, so block p of the output is
`sum_q a[p, q] * (block q of the input)`. The weight is viewed in blocks and the small factor is
contracted over the block index: 1 / r of the multiplications of the dense operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# From this many channels a block, one small product a row is faster than one large product of the
# transposed matrix, whose copies then cost more than the product (measured at 576 -> 384).
WIDE_BLOCK = 8


@dataclass(frozen=True)
class AxisMap:
    """One operator along one axis.

    The axis is read as [heads, copies, blocks of a head, radius]: `factor` acts on (head, block of
    a head) and leaves the copy and the channel inside a block where they are. Everywhere but on
    the query axis there is one copy and this is plainly `factor (x) I_radius`. On the query axis
    the copies are the query heads that share a key/value head, so that all of them are mixed as
    that key/value head is (method.md, open point 12).

    Attributes:
        factor: [out / radius, in / radius].
        radius: channels of one block.
        copies: query heads of a group; 1 on other axes.
        blocks_per_head: blocks that one head is cut into. Above 1 the map mixes channels inside a
            head, which does not commute with the rotary embedding. A treatment that ties the two
            rotary halves belongs to whoever builds the factor: it is a constraint on its entries.
    """

    factor: torch.Tensor
    radius: int
    copies: int = 1
    blocks_per_head: int = 1

    @property
    def rows_per_unit(self) -> int:
        """Rows of the output that can be computed without the others: a block, or a whole group."""
        return self.radius * self.copies * self.blocks_per_head

    def output_rows(self, first: int, last: int) -> AxisMap:
        """The map to rows first to last - 1 of the output alone; both are multiples of a unit."""
        per_row = self.radius * self.copies
        return replace(self, factor=self.factor[first // per_row : last // per_row])

    def rows(self, weight: torch.Tensor) -> torch.Tensor:
        """Map the first axis: [in, ...] to [out, ...], that is `A W`. Differentiable."""
        rest = weight.shape[1:]
        factor = self.factor.to(weight.dtype)
        if self.copies == 1 or self.blocks_per_head == 1:
            blocks = weight.reshape(factor.shape[1], -1)
            return (factor @ blocks).reshape(-1, *rest)
        per_head = self.blocks_per_head
        heads_out, heads_in = (size // per_head for size in factor.shape)
        blocks = weight.reshape(heads_in, self.copies, per_head, -1).transpose(0, 1)
        mixed = factor @ blocks.reshape(self.copies, heads_in * per_head, -1)
        mixed = mixed.reshape(self.copies, heads_out, per_head, -1).transpose(0, 1)
        return mixed.reshape(-1, *rest)

    def columns(self, weight: torch.Tensor) -> torch.Tensor:
        """Map the last axis of a matrix: [n, in] to [n, out], that is `W A^T`. Differentiable."""
        num_rows = weight.shape[0]
        factor = self.factor.to(weight.dtype)
        if self.copies == 1 or self.blocks_per_head == 1:
            blocks = weight.reshape(num_rows, factor.shape[1], -1)
            width = blocks.shape[2]
            if width >= WIDE_BLOCK:
                return (factor @ blocks).reshape(num_rows, -1)
            mixed = blocks.transpose(1, 2).reshape(num_rows * width, -1) @ factor.T
            return mixed.view(num_rows, width, -1).transpose(1, 2).reshape(num_rows, -1)
        return self.rows(weight.T).T.contiguous()
