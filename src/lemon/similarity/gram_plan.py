"""The cost of the Gram matrices of a component: products, passes over the weights, memory.

A Gram matrix of n residual coordinates is symmetric, so only its blocks of rows `first` to
`last` - 1 and columns `first` to n - 1 are computed. A slab has as many blocks as memory allows;
each slab is one pass over the weights of its type. This module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from lemon.architecture import Axis, layer_tensor_name
from lemon.checkpoint import Checkpoint

SLAB_BYTES = 600 << 20  # of Gram matrices in memory, over all layers
PIECE_BYTES = 32 << 20  # of float32 weights at a time
# Products of blocks with fewer rows are slow; with more rows they compute more redundant entries.
# On one core 128 of 1,024 and 256 of 4,096 rows were fastest: 0.6 of the time of whole products.
BLOCK_ROWS = (64, 256)
BLOCKS_A_MATRIX = 8
# Memory besides tensors: buffers of matrix products and reading, results, allocator overhead.
ALLOWANCE_BYTES = 64 << 20


@dataclass(frozen=True)
class Slab:
    """Blocks of Gram rows in memory at once, each with the columns from its diagonal on.

    Attributes:
        blocks: (first, one past the last) row of each; consecutive.
        num_coordinates: n, rows and columns of the Gram matrix.
    """

    blocks: tuple[tuple[int, int], ...]
    num_coordinates: int

    @property
    def first(self) -> int:
        """The first row; earlier coordinates are not needed."""
        return self.blocks[0][0]

    @property
    def diagonal_entries(self) -> int:
        """Entries of the square blocks on the diagonal, which are computed in full."""
        return sum((last - first) ** 2 for first, last in self.blocks)

    @property
    def entries(self) -> int:
        """All computed entries of one layer."""
        return sum((last - first) * (self.num_coordinates - first) for first, last in self.blocks)


@dataclass(frozen=True)
class GramPlan:
    """How the inner products of all layers' Gram matrices of one type are computed.

    Attributes:
        type: layer type, a key of `LAYER_TYPES` with two axes.
        num_layers: L.
        num_units: p, columns of the [n, p] representation.
        units_a_piece: units converted to float32 at a time.
        slabs: slabs of the Gram matrices; each is a pass over the weights.
        stored_bytes: bytes read from disk in one pass.
        held_bytes: peak bytes of tensors in memory.
    """

    type: str
    num_layers: int
    num_units: int
    units_a_piece: int
    slabs: tuple[Slab, ...]
    stored_bytes: int
    held_bytes: int

    @property
    def flop_a_layer(self) -> tuple[int, ...]:
        """Floating-point operations of one layer in each slab, including inner products."""
        each = 2 * (self.num_units + self.num_layers)
        return tuple(each * slab.entries for slab in self.slabs)

    @property
    def flop(self) -> int:
        """Floating-point operations of the whole type."""
        return self.num_layers * sum(self.flop_a_layer)


def gram_plan(source: Checkpoint, type: str) -> GramPlan:
    """The plan for one layer type of a model."""
    num_layers, width = source.shape.num_hidden_layers, source.shape.hidden_size
    names = [layer_tensor_name(type, layer) for layer in range(num_layers)]
    first_axis, last_axis = source.specs[names[0]].axes
    units_first = first_axis is not Axis.HIDDEN
    num_units = source.shape.axis_size(first_axis if units_first else last_axis)
    units_a_piece = min(num_units, max(1, PIECE_BYTES // (4 * width)))
    slabs = _slabs(width, num_layers)
    stored = max(map(source.num_bytes, names))
    # If units are rows they are read piece by piece; if columns, the tensor is read whole.
    read = stored * units_a_piece // num_units if units_first else stored
    return GramPlan(
        type=type,
        num_layers=num_layers,
        num_units=num_units,
        units_a_piece=units_a_piece,
        slabs=slabs,
        stored_bytes=sum(map(source.num_bytes, names)),
        held_bytes=4 * num_layers * max(slab.entries for slab in slabs)
        + read
        + 4 * units_a_piece * width,
    )


def _slabs(width: int, num_layers: int) -> tuple[Slab, ...]:
    """All rows in as few slabs as memory allows, each with at least one row."""
    fewest, most = BLOCK_ROWS
    rows = min(most, max(fewest, width // BLOCKS_A_MATRIX))
    rows = max(1, min(rows, width, SLAB_BYTES // (4 * num_layers * width)))
    slabs: list[Slab] = []
    for first in range(0, width, rows):
        block = (first, min(first + rows, width))
        if slabs:
            longer = Slab((*slabs[-1].blocks, block), width)
            if 4 * num_layers * longer.entries <= SLAB_BYTES:
                slabs[-1] = longer
                continue
        slabs.append(Slab((block,), width))
    return tuple(slabs)
