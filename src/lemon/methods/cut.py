"""Cut: keep the first layers, channels, heads and neurons, drop the rest.

Paper, section 4.3 ("last layers cutting") and appendix A.2 ("directly truncating"):
gamma = [I, 0], B = [I, 0], A_attn = [I, 0], A_ffn = [I, 0] (method.md, section 7).
"""

from __future__ import annotations

from lemon.architecture import LAYER_TYPES, Axis
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import OneHot, keeping


def build(context: BuildContext) -> Operators:
    """Operators that truncate; axes whose size stays have none."""
    source, target = context.source.shape, context.target
    layers, depth = range(source.num_hidden_layers), target.num_hidden_layers

    def leading(axis: Axis) -> OneHot | None:
        if source.axis_size(axis) == target.axis_size(axis):
            return None
        outputs, inputs = context.radii.factor_shape(axis, source, target)
        return keeping(range(outputs), inputs)

    attn, ffn = leading(Axis.KEY_VALUE), leading(Axis.FFN)
    gamma = keeping(range(depth), len(layers)) if depth < len(layers) else None
    return Operators(
        source,
        target,
        context.radii,
        gamma=dict.fromkeys(LAYER_TYPES, gamma) if gamma else {},
        hidden=leading(Axis.HIDDEN),
        attn=dict.fromkeys(layers, attn) if attn else {},
        ffn=dict.fromkeys(layers, ffn) if ffn else {},
    )
