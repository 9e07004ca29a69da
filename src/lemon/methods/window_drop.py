"""Drop one window of neighbouring layers, the control of FF-merge at about equal parameters.

Every window of as many layers as the target lacks is left out, and the one with the lowest
next-token loss on the tune text is dropped; of equal losses the first.
"""

from __future__ import annotations

from lemon.methods.calibration import lowest
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.progress import say


def build(context: BuildContext) -> Operators:
    """Operators that keep the other layers, in order.

    Raises:
        BadInput: the target is deeper or changes widths, or there is no calibration text.
    """
    context.require_depth_only("window-drop")
    calibration, depth = context.calibrated().for_choice, context.source.shape.num_hidden_layers
    states = calibration.through(context.keeping_layers(range(depth)), range(depth))
    width, losses = depth - context.target.num_hidden_layers, {}
    for first in range(depth - width + 1):
        kept = [*range(first), *range(first + width, depth)]
        losses[first] = calibration.loss_after(context.keeping_layers(kept), first, next(states))
        say(f"window-drop: without {first} to {first + width - 1}, loss {losses[first]:.4f}")
    first = lowest(losses, "window-drop")
    return context.keeping_layers([*range(first), *range(first + width, depth)])
