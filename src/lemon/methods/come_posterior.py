"""CoMe-P: as CoMe, but the share of the two layers is the one with the least loss.

Of the shares 0, 1/20, ..., 1, the merge with the lowest next-token loss on calibration text is
kept; of equal losses the smallest share.
"""

from __future__ import annotations

from functools import partial

from lemon.configuration.planned_run import PlannedRun
from lemon.methods import come
from lemon.methods.calibration import lowest
from lemon.methods.come import Measured, Merge, Merged, merge, merged_in_rounds, operators_of
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes, rounds, scored
from lemon.operators.algebra import Operators

GRANULARITY = 20  # steps between a share of 0 and one of 1, as in the authors' code


def build(context: BuildContext) -> Operators:
    """Operators that concatenate parts of neighbouring layers, with shares by loss."""
    return merged_in_rounds(context, "come-posterior", partial(best_share, context))


def passes(run: PlannedRun) -> list[Passes]:
    """As of `come`; at most, each round then scores all shares of a merge of the first layers."""
    rows, same = run.calibration.search_sequences, [0] * (GRANULARITY + 1)
    return [*come.passes(run), *(scored(rows, n - 1, same) for n in rounds(run))]


def best_share(context: BuildContext, state: list[Merged], measured: Measured, first: int) -> float:
    """The share of layer `first` in its merge with the next that has the least loss."""
    calibration = context.calibrated().for_search
    before = calibration.last(operators_of(context, state), range(first))
    losses = {}
    for step in range(GRANULARITY + 1):
        share = step / GRANULARITY
        operators = operators_of(context, merge(state, Merge.of(measured, first, share)))
        losses[share] = calibration.loss_after(operators, first, before)
    return lowest(losses, "come-posterior")
