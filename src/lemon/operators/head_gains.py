"""Attention factors where the channels of a head have gains that all heads share (Qwen3).

A map of whole heads leaves every channel its gain. One that mixes or moves channels inside a head
would need gains of its own for each head, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from lemon.architecture import LlamaShape
from lemon.errors import BadInput
from lemon.operators.factor import NOTHING, Factor, OneHot
from lemon.radii import split_heads


def require_whole_heads(shape: LlamaShape, radius: int, factors: Mapping[int, Factor]) -> None:
    """Refuse attention factors that split heads with shared gains.

    Args:
        shape: the sizes of the model that the factors apply to.
        radius: the receptive field of the factors. Below the head size, only those are legal that
            copy whole heads.
        factors: by source layer.

    Raises:
        BadInput: naming the first such factor.
    """
    fault = split_heads(shape, radius)
    if fault is None:
        return
    blocks = shape.head_dim // radius
    for layer, factor in factors.items():
        if not (isinstance(factor, OneHot) and _copies_heads(factor, blocks)):
            raise BadInput(f"operator attn.{layer} {fault}")


def _copies_heads(factor: OneHot, blocks: int) -> bool:
    """Whether each `blocks` outputs are those of one head in order, or all zero."""
    import torch

    by_head = factor.chosen.unflatten(0, (-1, blocks))
    firsts = by_head[:, :1]
    whole = (by_head == firsts + torch.arange(blocks)) & (firsts % blocks == 0)
    empty = (by_head == NOTHING).all(dim=1, keepdim=True)
    return bool((whole | empty).all())
