"""CoMe's pairs and shares with weighted sums, the contrast that its authors draw.

As `come`, but layer a and the one behind it become r_a W_a + (1 - r_a) W_b in every matrix, which
is a row of gamma. Norm gains are averaged, as in the concatenation.
"""

from __future__ import annotations

import torch

from lemon.methods.come import by_influence, measure
from lemon.methods.come import passes as passes
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense


def build(context: BuildContext) -> Operators:
    """Operators that sum neighbouring layers with weights by influence."""
    calibration = context.calibrated()
    matrices = norms = torch.eye(context.source.shape.num_hidden_layers)
    operators = context.layer_operators(Dense(matrices), Dense(norms))
    while len(matrices) > context.target.num_hidden_layers:
        measured = measure(calibration, operators)
        first = min(range(len(matrices) - 1), key=measured.distance.__getitem__)
        matrices = _summed(matrices, first, by_influence(measured, first))
        norms = _summed(norms, first, 0.5)
        operators = context.layer_operators(Dense(matrices), Dense(norms))
    return operators


def _summed(rows: torch.Tensor, first: int, share: float) -> torch.Tensor:
    one = share * rows[first] + (1 - share) * rows[first + 1]
    return torch.cat([rows[:first], one[None], rows[first + 2 :]])
