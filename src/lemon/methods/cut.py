"""Cut: keep the first layers, channels, heads and neurons, drop the rest.

Paper, section 4.3 ("last layers cutting") and appendix A.2 ("directly truncating"):
gamma = [I, 0], B = [I, 0], A_attn = [I, 0], A_ffn = [I, 0] (method.md, section 7).
"""

from __future__ import annotations

import torch

from lemon.architecture import LAYER_TYPES, Axis
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators


def build(context: BuildContext) -> Operators:
    """Operators that truncate; a size that stays needs none.

    Raises:
        BadInput: the target is larger than the source, or a radius does not divide a size.
    """
    context.require_no_growth("cut")
    source, target = context.source.shape, context.target
    layers = range(source.num_hidden_layers)
    depth = (target.num_hidden_layers, source.num_hidden_layers)

    def factor(axis: Axis) -> torch.Tensor | None:
        if source.axis_size(axis) == target.axis_size(axis):
            return None
        return torch.eye(*context.radii.factor_shape(axis, source, target))

    attn, ffn = factor(Axis.KEY_VALUE), factor(Axis.FFN)
    return Operators(
        source,
        target,
        context.radii,
        gamma={t: torch.eye(*depth) for t in LAYER_TYPES} if depth[0] < depth[1] else {},
        hidden=factor(Axis.HIDDEN),
        attn={j: attn.clone() for j in layers} if attn is not None else {},
        ffn={j: ffn.clone() for j in layers} if ffn is not None else {},
    )
