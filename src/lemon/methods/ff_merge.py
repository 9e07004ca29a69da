"""FF-merge: one FFN for a window of neighbouring layers, the mean of theirs, neurons aligned.

Verma, Murray and Duh 2025 (arXiv 2501.06126). Attention and norms of every layer stay. Of a window
of k + 1 layers, each layer's neurons are permuted onto those of an anchor layer by `alignment` on
the inputs of down_proj, and gate, up and down are averaged with equal weights; nothing is rescaled.
Every window is tried, or every n-th (`calibration.window_stride`), and the one with the lowest
next-token loss on the tune text is kept, before any training; of equal losses the first. `vanilla`
averages without permuting.

As operators: `ffn.<j>` is the permutation of layer j, and the window's rows of gamma are equal for
gate, up and down, so that the layers are tied. Shapes: T tokens, H neurons.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lemon.architecture import FFN_TYPES, LAYER_TYPES
from lemon.configuration.planned_run import PlannedRun
from lemon.methods.calibration import Calibration, lowest
from lemon.methods.context import BuildContext, windows
from lemon.methods.passes import Passes, scored
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, Factor, OneHot, keeping
from lemon.progress import say
from lemon.similarity.alignment import Features, correlation, matched

TOKENS = 10_240  # at most, rounded up to whole rows; the paper takes about 10,000


def build(context: BuildContext) -> Operators:
    """Operators that tie the best window of `context.tied_ffn_layers` layers.

    BadInput if no window has a finite loss.
    """
    calibration, depth = context.calibrated(), context.source.shape.num_hidden_layers
    whole = context.keeping_layers(range(depth))
    features = ffn_features(calibration, whole)
    tokens, neurons = features[0].values_TN.shape
    if tokens < neurons:
        chance = math.sqrt(2 * math.log(neurons) / tokens)
        say(
            f"warning: {context.method}: {tokens} tokens for {neurons} neurons, of which strangers "
            f"correlate by about {chance:.2f}; raise calibration.sequences"
        )
    tune, tried = (
        calibration.for_choice,
        windows(depth, context.tied_ffn_layers, context.window_stride),
    )
    states = tune.before_each(whole, [window.start for window in tried])
    found: dict[range, Operators] = {}
    losses: dict[range, float] = {}
    for window, before in zip(tried, states, strict=True):
        found[window] = tied(context, window, orders(features, window, context.method))
        loss = tune.loss_after(found[window], window.start, before)
        where = f"layers {window.start} to {window[-1]}"
        say(f"{context.method}: {where} share one FFN, loss {loss:.4f}")
        losses[window] = loss
    return found[lowest(losses, context.method)]


def passes(run: PlannedRun) -> list[Passes]:
    """The source is read for the features, then the model that ties each window is scored."""
    depth = run.fused_shape.num_hidden_layers
    tried = windows(depth, run.tied_ffn_layers, run.calibration.window_stride)
    rows = min(run.calibration.sequences, _rows(run.sequence_length))
    starts = [window.start for window in tried]
    return [Passes(rows, depth), scored(run.tune_rows, depth, starts)]


def ffn_features(calibration: Calibration, whole: Operators) -> list[Features]:
    """The input of down_proj in each layer, [T, H], in the compute format.

    All layers are kept: 2 T H bytes each in bfloat16, which is 7 GB for a 7B model.
    """
    rows = _rows(calibration.tokens_NT1.shape[1] - 1)
    calibration = replace(calibration, tokens_NT1=calibration.tokens_NT1[:rows])
    features, hidden = [], calibration.embedded()
    for layer in range(whole.target.num_hidden_layers):
        seen: list[Tensor] = []
        weights = calibration.layer(whole, layer)
        hidden = calibration.after(hidden, weights, {"down": seen.append})
        features.append(Features.of(torch.cat(seen).flatten(0, 1).cpu(), f"layer {layer}"))
    return features


def _rows(length: int) -> int:
    """How many rows of `length` tokens have `TOKENS`."""
    return -(-TOKENS // length)


def orders(features: list[Features], window: range, method: str) -> dict[int, OneHot]:
    """The permutation of each layer of the window onto the anchor; none of the anchor."""
    if method == "ff-merge-vanilla":
        return {}
    places = {"ff-merge": 0, "ff-merge-middle": len(window) // 2, "ff-merge-last": -1}
    anchor = window[places[method]]
    return {
        layer: matched(correlation(features[anchor], features[layer]))
        for layer in window
        if layer != anchor
    }


def tied(context: BuildContext, window: range, ffn: dict[int, OneHot]) -> Operators:
    """The operators that average the FFNs of the window, in these orders."""
    depth = context.source.shape.num_hidden_layers
    mean = torch.eye(depth)
    mean[window.start : window.stop] = 0
    mean[window.start : window.stop, window.start : window.stop] = 1 / len(window)
    same, averaged = keeping(range(depth), depth), Dense(mean)
    gamma: dict[str, Factor] = {t: averaged if t in FFN_TYPES else same for t in LAYER_TYPES}
    return Operators(context.source.shape, context.target, gamma=gamma, ffn=ffn)
