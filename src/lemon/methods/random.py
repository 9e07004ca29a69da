"""Random: keep a random subset of the layers in their order.

Paper, section 4.3, a baseline of Table 3: gamma is one-hot at a sorted random subset (method.md,
section 7). The paper reports one draw; we use several seeds (open point 18).
"""

from __future__ import annotations

from random import Random

from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators


def build(context: BuildContext) -> Operators:
    """Operators that keep the drawn layers."""
    depth = context.source.shape.num_hidden_layers
    kept = sorted(Random(context.seed).sample(range(depth), context.target.num_hidden_layers))
    return context.keeping_layers(kept)
