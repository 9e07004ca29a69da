"""CoMe's pairs and shares with weighted sums, the contrast that its authors draw.

As `come`, but layer a and the one behind it become r_a W_a + (1 - r_a) W_b in every matrix, which
is a row of gamma. Norm gains are averaged, as in the concatenation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from lemon.methods.come import by_influence, measure
from lemon.methods.come import passes as passes
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense


class Sum(NamedTuple):
    """What a round decides: the place of the pair's first layer, and its share."""

    first: int
    share: float


def build(context: BuildContext) -> Operators:
    """Operators that sum neighbouring layers with weights by influence."""
    calibration, depth = context.calibrated(), context.source.shape.num_hidden_layers
    matrices = norms = torch.eye(depth)
    operators = context.layer_operators(Dense(matrices), Dense(norms))

    def chosen() -> Sum:
        measured = measure(calibration, operators)
        first = min(range(len(matrices) - 1), key=measured.distance.__getitem__)
        return Sum(first, by_influence(measured, first))

    count = depth - context.target.num_hidden_layers
    for first, share in context.kept_rounds.rounds(Sum, count, chosen):
        matrices, norms = _summed(matrices, first, share), _summed(norms, first, 0.5)
        operators = context.layer_operators(Dense(matrices), Dense(norms))
    return operators


def _summed(rows: torch.Tensor, first: int, share: float) -> torch.Tensor:
    one = share * rows[first] + (1 - share) * rows[first + 1]
    return torch.cat([rows[:first], one[None], rows[first + 2 :]])
