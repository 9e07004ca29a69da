"""SLEB: drop one layer after the other, each time the one whose absence costs the least loss.

Song et al. 2024 (arXiv 2402.09025), algorithm 1: of the model that is left, every layer is removed
on trial, and the removal with the lowest next-token loss on calibration text is kept. Of equal
losses the first layer is removed. The states before a layer are shared by all later trials, and
only those of one layer are kept.
"""

from __future__ import annotations

from lemon.configuration.planned_run import PlannedRun
from lemon.methods.calibration import Calibration, lowest
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes, rounds, scored
from lemon.operators.algebra import Operators
from lemon.progress import say


def build(context: BuildContext) -> Operators:
    """Operators that keep the layers which are left, in order."""
    calibration = context.calibrated().for_search
    whole = context.keeping_layers(range(context.source.shape.num_hidden_layers))
    kept = list(range(context.source.shape.num_hidden_layers))
    while len(kept) > context.target.num_hidden_layers:
        losses = losses_without_each(calibration, whole, kept)
        dropped = lowest(losses, "sleb")
        kept.remove(dropped)
        say(f"sleb: {len(kept)} layers without {dropped}, loss {losses[dropped]:.4f}")
    return context.keeping_layers(kept)


def passes(run: PlannedRun) -> list[Passes]:
    """Each round scores the model without each of its n layers."""
    rows = run.calibration.search_sequences
    return [scored(rows, n - 1, range(n)) for n in rounds(run)]


def losses_without_each(
    calibration: Calibration, whole: Operators, kept: list[int]
) -> dict[int, float]:
    """The loss of the kept layers without each one of them, in nats a token."""
    losses, states = {}, calibration.through(whole, kept)
    for place, layer in enumerate(kept):
        last = calibration.last(whole, kept[place + 1 :], next(states))
        losses[layer] = calibration.loss(last)
    return losses
