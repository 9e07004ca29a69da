"""Attention factors that split heads, tied for the rotary embedding.

The embedding rotates channels c and c + d/2 of a head as a pair, by an angle of that pair. A map of
whole heads commutes with it; one that mixes channels inside a head does not. For a radius below the
head size the two halves are therefore tied: both are mixed with the same factor, so pairs stay
pairs. Blocks with different angles are still mixed, which is an approximation (method.md, open
point 11).

Shapes: K and k key/value heads of source and target, P blocks of half a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemon.errors import BadInput

if TYPE_CHECKING:
    import torch


def both_halves(half: torch.Tensor, blocks: int) -> torch.Tensor:
    """The factor [2kP, 2KP] that maps each half of the heads by `half` [kP, KP]."""
    by_head = half.unflatten(1, (-1, blocks)).unflatten(0, (-1, blocks))  # k P K P
    whole = half.new_zeros(by_head.shape[0], 2, blocks, by_head.shape[2], 2, blocks)
    whole[:, 0, :, :, 0] = by_head
    whole[:, 1, :, :, 1] = by_head
    return whole.flatten(3).flatten(0, 2)


def one_half(factor: torch.Tensor, blocks: int) -> torch.Tensor:
    """The map [kP, KP] that a tied factor [2kP, 2KP] applies to each half; see `both_halves`.

    Raises:
        BadInput: the factor treats the halves differently, or mixes them.
    """
    by_head = factor.unflatten(1, (-1, 2, blocks)).unflatten(0, (-1, 2, blocks))  # k 2 P K 2 P
    half = by_head[:, 0, :, :, 0].flatten(2).flatten(0, 1)
    if not both_halves(half, blocks).equal(factor):
        raise BadInput(
            "an attention operator of the start treats the two rotary halves of a head "
            "differently; start from whole heads, such as cut, or set fusion.rotary_halves to free"
        )
    return half
