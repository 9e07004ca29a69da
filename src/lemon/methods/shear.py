"""Shear: the operators of structured pruning, which keep some units of every structure.

Sheared-LLaMA (Xia et al. 2023), the baseline of Tables 2 to 4 and 7; paper, equations 5 and 6, with
one-hot rows: as printed, every target unit would be the sum of all that are kept. Which units are
kept is learned elsewhere, as masks; here it becomes a selection: gamma one-hot at the kept layers,
rows of the identity at the kept hidden coordinates, heads and neurons. `shear` applies it to the
weights that learned with the masks, `shear-selection` to the source's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.errors import BadInput
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.radii import Radii


@dataclass(frozen=True)
class Selection:
    """The units that are kept, ascending; None where all are.

    Attributes:
        layer: source layers.
        hidden: coordinates of the residual stream.
        head: key/value heads, for each source layer.
        ffn: FFN neurons, for each source layer.
    """

    layer: list[int] | None = None
    hidden: list[int] | None = None
    head: list[list[int]] | None = None
    ffn: list[list[int]] | None = None


def selection_operators(source: LlamaShape, target: LlamaShape, selection: Selection) -> Operators:
    """The operators that keep a selection and nothing else; fusing them slices, bit for bit.

    Raises:
        BadInput: the selection does not give the target's sizes.
    """
    layers = range(source.num_hidden_layers)

    def rows(kept: list[int], size: int) -> torch.Tensor:
        return torch.eye(size)[kept]

    def channels(heads: list[int]) -> list[int]:
        first = (head * source.head_dim for head in heads)
        return [channel for start in first for channel in range(start, start + source.head_dim)]

    gamma, hidden, attn, ffn = {}, None, {}, {}
    if selection.layer is not None:
        gamma = {type: rows(selection.layer, source.num_hidden_layers) for type in LAYER_TYPES}
    if selection.hidden is not None:
        hidden = rows(selection.hidden, source.hidden_size)
    if selection.head is not None:
        width = source.num_key_value_heads * source.head_dim
        attn = {j: rows(channels(selection.head[j]), width) for j in layers}
    if selection.ffn is not None:
        ffn = {j: rows(selection.ffn[j], source.intermediate_size) for j in layers}
    return Operators(source, target, Radii(), gamma=gamma, hidden=hidden, attn=attn, ffn=ffn)


def build(context: BuildContext) -> Operators:
    """The selection that an earlier run learned.

    Raises:
        BadInput: the run names no start, or one whose operators select nothing.
    """
    if context.start is None:
        raise BadInput("a selection needs a start: name a run that learned masks")
    return context.start(context)
