"""Inner products of the Gram matrices of all layers' weights of one type.

With X the [residual coordinate, unit] weights of a layer, each column of mean 0, K = X X^T is the
layer's Gram matrix. Only the blocks of K on and right of the diagonal are computed, in float32. The
inner products <K_i, K_j> over chunks of entries are summed in float64, since a float32 sum over the
16 million entries of a 4,096-wide model would lose digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lemon.architecture import Axis, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.similarity.gram_plan import GramPlan, Slab

if TYPE_CHECKING:
    import torch

# Entries whose products are summed in float32. On one core, sums of 4,096 take 10 % longer than
# sums of 65,536 and are ten times as precise.
CHUNK_ENTRIES = 4096
CENTRE_ENTRIES = 1 << 17  # entries centred at a time


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

    Args:
        source: the model; its tensors of the type are read once for each slab.
        plan: the plan of the type.
        layer_done: called after each layer of each slab with its floating-point operations.
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
            blocks = _blocks(grams[layer], slab)
            _multiply(source, plan, layer, slab, blocks, piece)
            for (first, last), square in zip(slab.blocks, blocks[0], strict=True):
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
    squares, right = [], []
    square_start, right_start = 0, slab.diagonal_entries
    for first, last in slab.blocks:
        rows, columns = last - first, slab.num_coordinates - last
        squares.append(gram[square_start : square_start + rows * rows].view(rows, rows))
        right.append(gram[right_start : right_start + rows * columns].view(rows, columns))
        square_start += rows * rows
        right_start += rows * columns
    return squares, right


def _multiply(
    source: Checkpoint,
    plan: GramPlan,
    layer: int,
    slab: Slab,
    blocks: tuple[list[torch.Tensor], list[torch.Tensor]],
    piece: torch.Tensor,
) -> None:
    """Fill one layer's blocks with the products of its centred weights.

    Args:
        source: the model.
        plan: the plan of the layer type.
        layer: index of the layer.
        slab: rows of the Gram matrix.
        blocks: the views from `_blocks`.
        piece: memory for the weights of `plan.units_a_piece` units in float32.
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
        for (first, last), square, right in zip(slab.blocks, *blocks, strict=True):
            for block, columns in ((square, units[first:last]), (right, units[last:])):
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
