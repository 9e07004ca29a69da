"""LaCo: collapse a layer and those behind it into one, where the model's output stays alike.

Yang et al. 2024 (arXiv 2402.11187), algorithm 1. From the last layers to the first, layer l and the
C - 1 behind it become one with the weights W_l + sum_k (W_{l+k} - W_l). The collapse is kept if the
final hidden states keep a mean cosine above a threshold T to the source's, and the search then goes
on `INTERVAL` layers further down. As a mix of source layers it is a row of gamma that sums to 1;
the norms stay those of layer l. The search begins at the last layer with C behind it.

Ours: the cosine is that of each token before the final norm; the paper tunes T for a depth, and
here the search is repeated with T lower by `STEP` until the depth is reached; a last collapse takes
fewer layers where C - 1 would be too many. The authors' notebooks subtract weights that they have
changed already, and so end with those of the last layer alone; the formula of the paper holds here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lemon.configuration.planned_run import PlannedRun
from lemon.errors import BadInput
from lemon.methods.calibration import Calibration, cosines
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, keeping
from lemon.progress import say

# Ours, for sources of about 30 layers; the authors' notebook for 13B takes C 7, INTERVAL 1, T 0.45.
COLLAPSED = 4  # C
INTERVAL = 2
THRESHOLD, STEP = 0.65, 0.05


def build(context: BuildContext) -> Operators:
    """Operators that collapse layers, the same for all matrices; norms are those of one layer.

    BadInput if no collapse has finite hidden states.
    """
    calibration, depth = context.calibrated().for_search, context.target.num_hidden_layers
    rows, threshold = torch.eye(context.source.shape.num_hidden_layers), THRESHOLD
    bases = list(range(len(rows)))  # the layer whose norms each row has
    whole = _final(calibration, _operators(context, rows, bases))
    alike: dict[int, float] = {}  # by layer, until a collapse is kept
    while len(rows) > depth and threshold >= -1 - STEP:
        layer = max(0, len(rows) - 1 - COLLAPSED)
        while layer >= 0 and len(rows) > depth:
            count = min(COLLAPSED - 1, len(rows) - 1 - layer, len(rows) - depth)
            trial = collapsed(rows, layer, count)
            left = bases[: layer + 1] + bases[layer + 1 + count :]
            if layer not in alike:
                final = _final(calibration, _operators(context, trial, left))
                finite = bool(final.isfinite().all())
                alike[layer] = float(cosines(whole, final).mean()) if finite else -math.inf
            if alike[layer] > threshold:
                say(f"laco: {len(trial)} layers, cosine {alike[layer]:.3f} over {threshold:.2f}")
                rows, bases, alike, layer = trial, left, {}, layer - INTERVAL
            else:
                layer -= 1
        threshold -= STEP
    if len(rows) > depth:
        raise BadInput("method laco: no collapse has finite hidden states on the calibration text")
    return _operators(context, rows, bases)


def passes(run: PlannedRun) -> list[Passes]:
    """At most, a collapse is kept once it was tried at every place."""
    rows, depth = run.calibration.search_sequences, run.target_shape.num_hidden_layers
    left = run.fused_shape.num_hidden_layers
    found = [Passes(rows, left)]
    while left > depth:
        places, left = (max(least, left - COLLAPSED + 1) for least in (1, depth))
        found.append(Passes(rows, places * left))
    return found


def collapsed(rows: Tensor, layer: int, count: int) -> Tensor:
    """The rows of gamma after `layer` takes in `count` layers behind it."""
    behind = rows[layer + 1 : layer + 1 + count]
    one = rows[layer] + (behind - rows[layer]).sum(0)
    return torch.cat([rows[:layer], one[None], rows[layer + 1 + count :]])


def _operators(context: BuildContext, rows: Tensor, bases: list[int]) -> Operators:
    return context.layer_operators(Dense(rows), norms=keeping(bases, rows.shape[1]))


def _final(calibration: Calibration, operators: Operators) -> Tensor:
    """The hidden states after the last layer of a model, [N, T, D]."""
    return calibration.last(operators, range(operators.target.num_hidden_layers))
