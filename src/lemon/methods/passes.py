"""How often builders send text through layers, known before they run.

A builder that does not send its rows once through the source says so in `passes(run)`, beside its
`build`. Where that depends on what a search finds, it is the most that may be needed; rounds that
are kept (`kept_rounds`) need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from lemon.configuration.planned_run import PlannedRun
from lemon.flops import head_flops, layer_flops


class Passes(NamedTuple):
    """Rows of text, through how many layers each goes, and how often its loss is computed."""

    rows: int
    layers: int
    losses: int = 0


def once(run: PlannedRun) -> list[Passes]:
    """Through every layer of the source, on the rows that the method's row in the registry says."""
    assert run.method.calibration_rows is not None
    rows: int = getattr(run.calibration, run.method.calibration_rows)
    return [Passes(rows, run.fused_shape.num_hidden_layers)]


def scored(rows: int, depth: int, firsts: Sequence[int]) -> Passes:
    """Candidates of `depth` layers, scored by their loss.

    `firsts`, ascending, are the layers from which each is a model of its own; the states before
    them are shared.
    """
    return Passes(rows, firsts[-1] + sum(depth - first for first in firsts), len(firsts))


def rounds(run: PlannedRun) -> range:
    """The depth of the model in each round of a search that removes one layer a round."""
    return range(run.fused_shape.num_hidden_layers, run.target_shape.num_hidden_layers, -1)


def passes_of(run: PlannedRun) -> list[Passes]:
    """How often a run's builder sends text through layers; nothing if it reads none."""
    if not run.method.calibrates:
        return []
    builder = import_module(f"lemon.methods.{run.method.module}")
    passes: Callable[[PlannedRun], list[Passes]] = getattr(builder, "passes", once)
    return passes(run)


def building_flops(run: PlannedRun) -> float:
    """FLOP of these passes, at most."""
    shape, length = run.fused_shape, run.sequence_length
    layer, head = layer_flops(shape, length), head_flops(shape)
    return length * sum(p.rows * (p.layers * layer + p.losses * head) for p in passes_of(run))
