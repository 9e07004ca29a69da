"""Pruning masks: gates on the axes that the target shrinks, and the units that they keep.

Sheared-LLaMA (Xia et al. 2023), section 2.1: one gate for each layer, one for each hidden
coordinate of the whole model, and in every layer one for each head and each FFN neuron. Under
grouped-query attention a head is a key/value head with its query heads, which are kept or dropped
together. Axes that keep their size have no gates.

Shapes: L layers, D hidden size, K key/value heads, H FFN neurons, all of the source.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from lemon.architecture import LlamaShape
from lemon.data.text.order import keyed_uniform
from lemon.files.storage import write_text
from lemon.learning import hard_concrete
from lemon.methods.shear import Selection

START = hard_concrete.LARGEST_LOG_ALPHA  # each gate is then open with probability 0.998

Gates = dict[str, Tensor]
"""Values in [0, 1] by structure: layer [L], hidden [D], head [L, K], ffn [L, H]."""


@dataclass(frozen=True)
class Structure:
    """A kind of unit that is kept or dropped.

    Attributes:
        size, kept: units of the source and of the target in a row of gates.
        rows: the number of layers; None if the whole model has one row of gates.
    """

    size: int
    kept: int
    rows: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its gates."""
        return (self.size,) if self.rows is None else (self.rows, self.size)


def gated_structures(source: LlamaShape, target: LlamaShape) -> dict[str, Structure]:
    """The structures that shrink from source to target."""
    depth = source.num_hidden_layers
    every = {
        "layer": Structure(depth, target.num_hidden_layers),
        "hidden": Structure(source.hidden_size, target.hidden_size),
        "head": Structure(source.num_key_value_heads, target.num_key_value_heads, depth),
        "ffn": Structure(source.intermediate_size, target.intermediate_size, depth),
    }
    return {name: one for name, one in every.items() if one.kept < one.size}


class Masks(nn.Module):
    """The parameters of the gates: log alpha in float32, all initialised to `START`."""

    def __init__(
        self, source: LlamaShape, target: LlamaShape, *, seed: int, device: torch.device
    ) -> None:
        """`source` and `target` are the sizes before and after pruning, `seed` is of the noise."""
        super().__init__()
        self.source, self.target, self.seed = source, target, seed
        self.structures = gated_structures(source, target)
        self.log_alpha = nn.ParameterDict(
            {n: torch.full(s.shape, START, device=device) for n, s in self.structures.items()}
        )

    def sampled(self, step: int, part: int) -> Gates:
        """Random gates for one pass, from seed, step and microbatch; differentiable in log alpha.

        log alpha is first clamped to its range, in place.
        """
        gates = {}
        for name, log_alpha in self.log_alpha.items():
            with torch.no_grad():
                log_alpha.clamp_(-START, START)
            noise = keyed_uniform(log_alpha.numel(), "gate", self.seed, name, step, part)
            uniform = torch.from_numpy(noise).to(log_alpha).view_as(log_alpha)
            gates[name] = hard_concrete.sample(log_alpha, uniform)
        return gates

    @torch.no_grad()
    def deterministic(self, *, at_target: bool) -> Gates:
        """Deterministic gates, of which as many are open as the target has units.

        If not `at_target`, as many as are now expected to be open, on average over the layers.
        """
        gates = {}
        for name, log_alpha in self.log_alpha.items():
            structure = self.structures[name]
            num_open = structure.kept
            if not at_target:
                share = hard_concrete.keep_probability(log_alpha).mean().item()
                num_open = max(1, round(share * structure.size))
            gates[name] = hard_concrete.deterministic(log_alpha, num_open)
        return gates

    def keep_probabilities(self) -> Gates:
        """The probability that each gate is open; differentiable."""
        return {name: hard_concrete.keep_probability(a) for name, a in self.log_alpha.items()}

    @torch.no_grad()
    def selection(self) -> Selection:
        """The units that the target keeps: those with the largest log alpha in each structure."""
        kept = {
            name: hard_concrete.largest(log_alpha, self.structures[name].kept).tolist()
            for name, log_alpha in self.log_alpha.items()
        }
        return Selection(**kept)


class Settled(TypedDict):
    """How far the gates of a structure have settled, over all its rows."""

    sparsity: float  # share of the units that are expected to be dropped
    target_sparsity: float
    smallest_kept_gate: float
    largest_dropped_gate: float


@torch.no_grad()
def settled(masks: Masks) -> dict[str, Settled]:
    """By structure, how far its gates have settled. The gates are deterministic, before the cut."""
    found: dict[str, Settled] = {}
    for name, keep in masks.keep_probabilities().items():
        structure, log_alpha = masks.structures[name], masks.log_alpha[name]
        gates = hard_concrete.deterministic(log_alpha, structure.size)
        ordered = gates.sort(dim=-1, descending=True).values
        found[name] = {
            "sparsity": 1.0 - keep.mean().item(),
            "target_sparsity": 1.0 - structure.kept / structure.size,
            "smallest_kept_gate": ordered[..., structure.kept - 1].min().item(),
            "largest_dropped_gate": ordered[..., structure.kept].max().item(),
        }
    return found


COLUMNS = ("structure", "layer", "unit", "log_alpha", "keep_probability", "gate", "kept")


@torch.no_grad()
def write_masks(path: Path, masks: Masks) -> None:
    """Write one line for each gate.

    `structure` is layer, hidden, head or ffn; `layer` the source layer of a head or neuron, empty
    for the others; `unit` the index in its row; `gate` the deterministic value, 0 unless the unit
    is kept.

    Raises:
        BadInput, WorkFailed: the file can't be written.
    """
    probabilities, gates = masks.keep_probabilities(), masks.deterministic(at_target=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, structure in masks.structures.items():
        values = [masks.log_alpha[name], probabilities[name], gates[name]]
        rows = zip(*(value.reshape(-1, structure.size).tolist() for value in values), strict=True)
        for layer, row in enumerate(rows):
            place = "" if structure.rows is None else layer
            for unit, (log_alpha, probability, gate) in enumerate(zip(*row, strict=True)):
                numbers = [f"{value:.6g}" for value in (log_alpha, probability, gate)]
                writer.writerow([name, place, unit, *numbers, int(gate > 0)])
    write_text(path, text.getvalue())
