"""Drop one window of neighbouring layers, the control of FF-merge at about equal parameters.

Every window of as many layers as the target lacks, or every n-th (`calibration.window_stride`), is
left out, and the one with the lowest next-token loss on the tune text is dropped; of equal losses
the first.
"""

from __future__ import annotations

from lemon.configuration.planned_run import PlannedRun
from lemon.methods.calibration import lowest
from lemon.methods.context import BuildContext, windows
from lemon.methods.passes import Passes, scored
from lemon.operators.algebra import Operators
from lemon.progress import say


def build(context: BuildContext) -> Operators:
    """Operators that keep the other layers, in order."""
    calibration, depth = context.calibrated().for_choice, context.source.shape.num_hidden_layers
    width, whole = depth - context.target.num_hidden_layers, context.keeping_layers(range(depth))
    kept = {
        window.start: context.keeping_layers([n for n in range(depth) if n not in window])
        for window in windows(depth, width, context.window_stride)
    }
    losses = {}
    for first, before in zip(kept, calibration.before_each(whole, kept), strict=True):
        losses[first] = calibration.loss_after(kept[first], first, before)
        say(f"window-drop: without {first} to {first + width - 1}, loss {losses[first]:.4f}")
    return kept[lowest(losses, "window-drop")]


def passes(run: PlannedRun) -> list[Passes]:
    """The model without each window is scored."""
    depth, left = run.fused_shape.num_hidden_layers, run.target_shape.num_hidden_layers
    tried = windows(depth, depth - left, run.calibration.window_stride)
    return [scored(run.tune_rows, left, [window.start for window in tried])]
