"""Aligned (ours): a start whose source layers have their neurons and heads in one order.

The neurons of neighbouring layers are in no common order, so a gamma that mixes layers mixes
strangers. From the second layer on, each layer's FFN neurons and whole query-head groups are
permuted onto those of the layer before it, by `alignment` on the inputs of down and o. That changes
no layer's function, and the gamma of the start stays as it is.

Channels inside a head keep their order: the rotary embedding fixes that of q and k, and one
operator serves all four matrices. Heads are matched by the mean correlation of equal channels, so
what is mixed inside a head may still be strangers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lemon.errors import BadInput
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import OneHot
from lemon.radii import Radii
from lemon.similarity.alignment import Features, correlation, matched


def build(context: BuildContext) -> Operators:
    """The operators of the start with a permutation of each layer's heads and neurons.

    BadInput if the start maps widths.
    """
    start, shape = context.start, context.source.shape
    if start is None or start.hidden is not None or start.attn or start.ffn:
        raise BadInput("method aligned needs a start that maps layers alone, such as cut")
    calibration = context.calibrated()
    whole, hidden = context.keeping_layers(range(shape.num_hidden_layers)), calibration.embedded()
    attn: dict[int, OneHot] = {}
    ffn: dict[int, OneHot] = {}
    heads: Tensor | None = None  # of the layer before, in its new order
    neurons: Tensor | None = None
    for layer in range(shape.num_hidden_layers):
        seen: dict[str, list[Tensor]] = {"o": [], "down": []}
        watch = {type: kept.append for type, kept in seen.items()}
        hidden = calibration.after(hidden, calibration.layer(whole, layer), watch)
        outputs, products = (torch.cat(seen[t]).flatten(0, 1).cpu() for t in ("o", "down"))
        groups = outputs.unflatten(1, (shape.num_key_value_heads, -1))
        if heads is not None and neurons is not None:
            where = f"layer {layer}"
            attn[layer] = matched(_between_groups(heads, groups, where))
            ffn[layer] = matched(
                correlation(Features.of(neurons, where), Features.of(products, where))
            )
            groups = groups[:, attn[layer].chosen]
            products = products[:, ffn[layer].chosen]
        heads, neurons = groups, products
    return replace(start, radii=Radii(attention=shape.head_dim), attn=attn, ffn=ffn)


def _between_groups(anchor: Tensor, other: Tensor, where: str) -> Tensor:
    """The mean correlation of the same channels of two groups, [groups, groups].

    Both are [T, groups, channels of a group].
    """
    count, channels = anchor.shape[1:]
    found = correlation(*(Features.of(heads.flatten(1), where) for heads in (anchor, other)))
    return found.view(count, channels, count, channels).diagonal(dim1=1, dim2=3).mean(-1)
