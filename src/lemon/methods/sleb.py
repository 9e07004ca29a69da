"""SLEB: drop one layer after the other, each time the one whose absence costs the least loss.

Song et al. 2024 (arXiv 2402.09025), algorithm 1: of the model that is left, every layer is removed
on trial, and the removal with the lowest next-token loss on calibration text is kept. Of equal
losses the first layer is removed. The states before a layer are shared by all later trials, and
only those of one layer are kept.
"""

from __future__ import annotations

from typing import NamedTuple

from lemon.configuration.planned_run import PlannedRun
from lemon.methods.calibration import Calibration, lowest
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes, rounds, scored
from lemon.operators.algebra import Operators
from lemon.progress import say


class Removal(NamedTuple):
    """What a round decides: the layer that goes, and the loss without it in nats a token."""

    layer: int
    loss: float


def build(context: BuildContext) -> Operators:
    """Operators that keep the layers which are left, in order."""
    calibration, depth = context.calibrated().for_search, context.source.shape.num_hidden_layers
    whole, kept = context.keeping_layers(range(depth)), list(range(depth))

    def chosen() -> Removal:
        losses = losses_without_each(calibration, whole, kept)
        layer = lowest(losses, "sleb")
        return Removal(layer, losses[layer])

    count = depth - context.target.num_hidden_layers
    for layer, loss in context.kept_rounds.rounds(Removal, count, chosen):
        kept.remove(layer)
        say(f"sleb: {len(kept)} layers without {layer}, loss {loss:.4f}")
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
