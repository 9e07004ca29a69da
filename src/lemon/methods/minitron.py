"""Minitron: keep the hidden coordinates, heads and neurons with the largest activations.

Muralidharan et al. 2024 (arXiv 2407.14679), section 2.2: the importance of a unit is the size of
its activation on calibration text, averaged over the tokens of a row and summed over rows by the L2
norm. A hidden coordinate's is that of both norms' outputs, summed over layers; a head group's the
norm of its attention output; a neuron's that of the input of down_proj. Of equal ones the first
unit is kept. Layers all stay.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lemon.architecture import Axis
from lemon.methods.context import BuildContext
from lemon.methods.shear import Selection, selection_operators
from lemon.operators.algebra import Operators


def build(context: BuildContext) -> Operators:
    """Operators that select hidden coordinates, heads and neurons."""
    source, target, calibration = context.source.shape, context.target, context.calibrated()
    groups, channels = source.num_key_value_heads, source.group_size * source.head_dim
    whole = context.keeping_layers(range(source.num_hidden_layers))
    hidden, stream = calibration.embedded(), torch.zeros(source.hidden_size, dtype=torch.float64)
    heads, ffn = [], []
    for layer in range(source.num_hidden_layers):
        seen: dict[str, list[Tensor]] = {"q": [], "gate": [], "o": [], "down": []}
        watch = {type: partial(_keep_sizes, rows) for type, rows in seen.items()}
        hidden = calibration.after(hidden, calibration.layer(whole, layer), watch)
        sizes = {type: torch.cat(rows).norm(dim=0) for type, rows in seen.items()}
        stream += sizes["q"] + sizes["gate"]
        by_group = sizes["o"].view(groups, channels).norm(dim=1)
        heads.append(_largest(by_group, target.num_key_value_heads))
        ffn.append(_largest(sizes["down"], target.intermediate_size))
    selection = Selection(
        hidden=_largest(stream, target.hidden_size) if _less(context, Axis.HIDDEN) else None,
        head=heads if _less(context, Axis.KEY_VALUE) else None,
        ffn=ffn if _less(context, Axis.FFN) else None,
    )
    return selection_operators(source, target, selection)


def _keep_sizes(rows: list[Tensor], inputs: Tensor) -> None:
    """Append the mean size of each channel over the tokens of each row, of [rows, T, channels]."""
    rows.append(inputs.abs().double().mean(1).cpu())


def _less(context: BuildContext, axis: Axis) -> bool:
    return context.target.axis_size(axis) < context.source.shape.axis_size(axis)


def _largest(importance: Tensor, count: int) -> list[int]:
    """The places of the largest values, ascending."""
    ranked = importance.argsort(descending=True, stable=True)
    return sorted(ranked[:count].tolist())
