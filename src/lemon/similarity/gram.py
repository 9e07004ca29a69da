"""Inner products of the Gram matrices of all layers' weights of one type, and what they cost.

With X the [residual coordinate, unit] weights of a layer, each column of mean 0, K = X X^T is the
layer's Gram matrix. It is symmetric, so only its blocks of rows `first` to `last` - 1 and columns
`first` to n - 1 are computed, in float32. A slab has as many blocks as memory allows; each slab is
one pass over the weights of its type. The inner products <K_i, K_j> over chunks of entries are
summed in float64, since a float32 sum over the 16 million entries of a 4,096-wide model would lose
digits. No torch is imported for a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lemon.architecture import Axis, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.provenance import peak_memory_bytes

if TYPE_CHECKING:
    import torch

SLAB_BYTES = 600 << 20  # of Gram matrices in memory, over all layers
PIECE_BYTES = 32 << 20  # of float32 weights at a time
# Products of blocks with fewer rows are slow; with more rows they compute more redundant entries.
# On one core 128 of 1,024 and 256 of 4,096 rows were fastest: 0.6 of the time of whole products.
BLOCK_ROWS = (64, 256)
BLOCKS_A_MATRIX = 8
# Memory besides tensors: buffers of matrix products and reading, results, allocator overhead.
ALLOWANCE_BYTES = 64 << 20
# Entries whose products are summed in float32. On one core, sums of 4,096 take 10 % longer than
# sums of 65,536 and are ten times as precise.
CHUNK_ENTRIES = 4096
CENTRE_ENTRIES = 1 << 17  # entries centred at a time


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
        num_layers, num_units: L, and p, the columns of the [n, p] representation.
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
    grams = 4 * num_layers * max(slab.entries for slab in slabs)
    return GramPlan(
        *(type, num_layers, num_units, units_a_piece, slabs),
        stored_bytes=sum(map(source.num_bytes, names)),
        held_bytes=grams + read + 4 * units_a_piece * width,
    )


def _slabs(width: int, num_layers: int) -> tuple[Slab, ...]:
    """All rows in as few slabs as memory allows, each with at least one row."""
    fewest, most = BLOCK_ROWS
    rows = min(most, max(fewest, width // BLOCKS_A_MATRIX))
    rows = max(1, min(rows, width, SLAB_BYTES // (4 * num_layers * width)))
    slabs: list[Slab] = []
    for first in range(0, width, rows):
        block = (first, min(first + rows, width))
        longer = Slab((*(slabs[-1].blocks if slabs else ()), block), width)
        if slabs and 4 * num_layers * longer.entries <= SLAB_BYTES:
            slabs[-1] = longer
        else:
            slabs.append(Slab((block,), width))
    return tuple(slabs)


def memory_bound(plans: Sequence[GramPlan]) -> int:
    """Upper bound of this process's resident bytes while it executes the plans one by one."""
    import torch  # noqa: F401 - so that the memory of the imported torch is counted

    return peak_memory_bytes() + max(plan.held_bytes for plan in plans) + ALLOWANCE_BYTES


@dataclass(frozen=True)
class GramProducts:
    """The inputs of all CKA estimators, for L layers and n residual coordinates.

    Attributes:
        off_diagonal: [L, L] float64, sums of K_i * K_j over the entries off the diagonal.
        diagonals: [L, n] float64, the diagonal of each K.
    """

    off_diagonal: np.ndarray
    diagonals: np.ndarray


def gram_products(
    source: Checkpoint, plan: GramPlan, layer_done: Callable[[int], None]
) -> GramProducts:
    """Multiply the Gram matrices of one layer type, slab by slab.

    `layer_done` is called after each layer of each slab with its floating-point operations.
    """
    import torch

    num_layers, width = plan.num_layers, source.shape.hidden_size
    off_diagonal = torch.zeros(num_layers, num_layers, dtype=torch.float64)
    diagonals = torch.empty(num_layers, width, dtype=torch.float64)
    memory = torch.empty(num_layers * max(slab.entries for slab in plan.slabs))
    piece = torch.empty(plan.units_a_piece * width)
    for slab, flop in zip(plan.slabs, plan.flop_a_layer, strict=True):
        grams = memory[: num_layers * slab.entries].view(num_layers, slab.entries)
        for layer in range(num_layers):
            squares, right = _blocks(grams[layer], slab)
            _multiply(source, plan, layer, slab, squares, right, piece)
            for (first, last), square in zip(slab.blocks, squares, strict=True):
                diagonals[layer, first:last] = square.diagonal()
                square.diagonal().zero_()
            layer_done(flop)
        # By symmetry, blocks right of the diagonal count twice.
        off_diagonal += inner_products(grams[:, : slab.diagonal_entries])
        off_diagonal += 2 * inner_products(grams[:, slab.diagonal_entries :])
    # On some machines the product of a matrix with itself is not exactly symmetric.
    off_diagonal = (off_diagonal + off_diagonal.T) / 2
    return GramProducts(off_diagonal.numpy(), diagonals.numpy())


def _blocks(gram: torch.Tensor, slab: Slab) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Views of one layer's entries: the square blocks on the diagonal, and those to their right.

    All squares come first, so that the entries of each kind are contiguous.
    """
    rows = [last - first for first, last in slab.blocks]
    columns = [slab.num_coordinates - last for _, last in slab.blocks]
    shapes = [*zip(rows, rows, strict=True), *zip(rows, columns, strict=True)]
    parts = gram.split([height * width for height, width in shapes])
    views = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    return views[: len(rows)], views[len(rows) :]


def _multiply(
    source: Checkpoint,
    plan: GramPlan,
    layer: int,
    slab: Slab,
    squares: list[torch.Tensor],
    right: list[torch.Tensor],
    piece: torch.Tensor,
) -> None:
    """Fill one layer's blocks with the products of its centred weights.

    `piece` is memory for the weights of `plan.units_a_piece` units in float32.
    """
    spec = source.specs[layer_tensor_name(plan.type, layer)]
    whole = None if spec.axes[0] is not Axis.HIDDEN else source.tensor(spec.name)
    for start in range(0, plan.num_units, plan.units_a_piece):
        stop = min(start + plan.units_a_piece, plan.num_units)
        stored = source.rows(spec.name, start, stop) if whole is None else whole[:, start:stop]
        weights = piece[: stored.numel()].view(stored.shape).copy_(stored)
        units = weights.T if whole is None else weights
        del stored  # frees it before the next is read
        _centre(units)
        for (first, last), square, beside in zip(slab.blocks, squares, right, strict=True):
            for block, columns in ((square, units[first:last]), (beside, units[last:])):
                if block.numel():
                    block.addmm_(units[first:last], columns.T, beta=float(start > 0))


def _centre(units: torch.Tensor) -> None:
    """Subtract the mean of each column of [residual coordinate, unit] weights, in place."""
    import torch

    # In float64 the mean of equal entries is exact, so that a constant column becomes 0. Few units
    # at a time, because torch converts a copy of what it sums in another number format.
    for some in units.split(max(1, CENTRE_ENTRIES // len(units)), dim=1):
        some -= some.mean(0, dtype=torch.float64).float()


def inner_products(grams: torch.Tensor) -> torch.Tensor:
    """Inner products of the rows of a matrix [L, entries]; [L, L] float64."""
    import torch

    total = torch.zeros(len(grams), len(grams), dtype=torch.float64)
    for chunk in grams.split(CHUNK_ENTRIES, dim=1):
        total += chunk @ chunk.T
    return total
