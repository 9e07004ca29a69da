"""Apply `A = a (x) I_r` along one axis of a weight without forming A.

Paper, section 3.4: contiguous channels are tied in blocks of r, so block p of the output is
`sum_q a[p, q] * (block q of the input)`. The weight is viewed in blocks and the small factor is
contracted over the block index: 1 / r of the multiplications of the dense operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lemon.operators.factor import Factor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AxisMap:
    """One operator along one axis.

    The axis is viewed as [heads, copies, blocks of a head, radius]: `factor` acts on (head, block
    of a head) and does not mix copies or channels inside a block. On the query axis the copies are
    the query heads that share a key/value head, so all are mixed like that key/value head
    (method.md, open point 12). On other axes there is one copy, and the map is
    `factor (x) I_radius`.

    Attributes:
        factor: [out / radius, in / radius]; a one-hot factor copies channels bit for bit.
        radius: channels of one block.
        copies: query heads of a group; 1 on other axes.
        blocks_per_head: blocks in one head. Above 1 the map mixes channels inside a head, which
            does not commute with the rotary embedding (`rotary.py`).
    """

    factor: Factor
    radius: int
    copies: int = 1
    blocks_per_head: int = 1

    @property
    def rows_per_unit(self) -> int:
        """Output rows that must be computed together: a block, a head, or a group of heads."""
        return self.radius * self.copies * self.blocks_per_head

    def output_rows(self, first: int, last: int) -> AxisMap:
        """The map to output rows first to last - 1; both are multiples of `rows_per_unit`."""
        per_row = self.radius * self.copies
        return replace(self, factor=self.factor.outputs(first // per_row, last // per_row))

    def rows(self, weight: torch.Tensor) -> torch.Tensor:
        """Map the first axis, `A W`: [in, ...] to [out, ...]. Differentiable."""
        rest, (outputs, inputs) = weight.shape[1:], self.factor.shape
        if self.copies == 1 or self.blocks_per_head == 1:
            return self.factor.apply(weight.reshape(inputs, -1)).reshape(-1, *rest)
        per_head = self.blocks_per_head
        blocks = weight.reshape(inputs // per_head, self.copies, per_head, -1).transpose(0, 1)
        mixed = self.factor.apply(blocks.reshape(self.copies, inputs, -1))
        mixed = mixed.reshape(self.copies, outputs // per_head, per_head, -1).transpose(0, 1)
        return mixed.reshape(-1, *rest)

    def columns(self, weight: torch.Tensor) -> torch.Tensor:
        """Map the last axis of a matrix, `W A^T`: [n, in] to [n, out]. Differentiable."""
        if self.copies == 1 or self.blocks_per_head == 1:
            num_rows, (_, inputs) = len(weight), self.factor.shape
            return self.factor.apply(weight.reshape(num_rows, inputs, -1)).reshape(num_rows, -1)
        return self.rows(weight.T).T.contiguous()
