"""MKA: merge the last layers into one, each with a weight by how alike it and the next one are.

Liu et al. 2024 (arXiv 2406.16330), "Pruning via Merging". From the last layer to the first, the
last layer of the model and the one before it become S W_l + (1 - S) W_rest in every matrix, until
the depth is reached. S is the similarity of layers l and l + 1 of the source (`manifold`). The last
layer becomes a row of gamma over all layers that it stands for:

    row = S_l e_l + (1 - S_l) row      for l downwards, from the row of the last layer

Norms are those of the first of these layers, as in the authors' code.

Ours: the outputs are those of `TOKENS` tokens of training text, before the final norm. In the
authors' code, the weight is a sigmoid of the share of l in the mean similarities of both layers,
between 0.5 and 0.73, and what it merges is not written into the model, so that its model is the
source without its last layers; the paper's weight, S, holds here, at most 1.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from lemon.errors import BadInput
from lemon.methods.context import BuildContext
from lemon.methods.manifold import ENTROPY_NEIGHBOURS, diffusion_map, similarity
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, keeping
from lemon.progress import say

TOKENS = 512  # at most, at equal distances in the calibration text


def build(context: BuildContext) -> Operators:
    """Operators that merge the last layers, the same for all matrices; norms are of one layer.

    BadInput if there is too little calibration text, or hidden states on it are not finite.
    """
    calibration = context.calibrated()
    depth, kept = context.source.shape.num_hidden_layers, context.target.num_hidden_layers
    states = calibration.through(context.keeping_layers(range(depth)), range(depth))
    maps = [diffusion_map(_some_tokens(state)) for state in islice(states, kept, None)]
    rows = torch.eye(depth)
    last = rows[-1]
    for layer in reversed(range(kept - 1, depth - 1)):
        alike = min(1.0, similarity(*maps[layer - kept + 1 : layer - kept + 3]))
        say(f"mka: layer {layer} is merged with a weight of {alike:.3f}")
        last = alike * rows[layer] + (1 - alike) * last
    gamma = Dense(torch.cat([rows[: kept - 1], last[None]]))
    return context.layer_operators(gamma, norms=keeping(range(kept), depth))


def _some_tokens(states_NTD: Tensor) -> Tensor:
    """The hidden states of `TOKENS` tokens at equal distances, or of all, [tokens, D]."""
    states = states_NTD.flatten(0, 1)
    if len(states) <= ENTROPY_NEIGHBOURS:
        raise BadInput(
            f"method mka needs more than {ENTROPY_NEIGHBOURS} tokens of calibration text, not "
            f"{len(states)}; raise calibration.sequences"
        )
    taken = states[:: -(-len(states) // TOKENS)].cpu()
    if not taken.isfinite().all():
        raise BadInput("method mka: hidden states are not finite on the calibration text")
    return taken
