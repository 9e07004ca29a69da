"""Shear: the operators of structured pruning, which keep some units of every structure.

Sheared-LLaMA (Xia et al. 2023), the baseline of Tables 2 to 4 and 7; paper, equations 5 and 6, with
one-hot rows: as printed, every target unit would be the sum of all kept units. `lemon.learning`
learns masks for the units; here they become a selection: gamma is one-hot at the kept layers, the
other operators are rows of the identity at the kept hidden coordinates, heads and neurons. `shear`
applies it to the weights that were learned with the masks, `shear-selection` to the source's.
"""

from __future__ import annotations

from dataclasses import dataclass

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.operators.algebra import Operators
from lemon.operators.factor import OneHot, keeping
from lemon.radii import Radii


@dataclass(frozen=True)
class Selection:
    """The kept units, ascending; None if all are kept.

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
    """The operators that keep a selection; fusing copies the kept weights bit for bit."""
    layers, head_dim = range(source.num_hidden_layers), source.head_dim
    gamma: dict[str, OneHot] = {}
    attn: dict[int, OneHot] = {}
    ffn: dict[int, OneHot] = {}
    hidden = None
    if selection.layer is not None:
        gamma = dict.fromkeys(LAYER_TYPES, keeping(selection.layer, len(layers)))
    if selection.hidden is not None:
        hidden = keeping(selection.hidden, source.hidden_size)
    if selection.head is not None:
        width = source.num_key_value_heads * head_dim
        for j in layers:
            firsts = (head * head_dim for head in selection.head[j])
            attn[j] = keeping([first + c for first in firsts for c in range(head_dim)], width)
    if selection.ffn is not None:
        ffn = {j: keeping(selection.ffn[j], source.intermediate_size) for j in layers}
    return Operators(source, target, Radii(), gamma=gamma, hidden=hidden, attn=attn, ffn=ffn)
