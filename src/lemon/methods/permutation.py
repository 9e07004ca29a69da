"""Permute a selection's units to the front, so that operators tied in blocks can keep them.

With a receptive field r > 1, blocks of r neighbouring channels are kept or dropped, so scattered
units can't be selected. The source is therefore permuted first: hidden coordinates in the whole
model, heads and neurons within their layer. The model's function stays the same, and the selection
becomes a truncation (method.md, open point 32). Layers stay in place: gamma is never tied.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.operators.factor import Factor, OneHot, keeping, one_hot
from lemon.radii import Radii


def leading_permutation(selection: Operators) -> Operators:
    """The permutation of the source that puts the kept units first; both kinds keep their order.

    BadInput if a width operator is not a selection of distinct single channels.
    """
    return Operators(
        selection.source,
        selection.source,
        Radii(),
        hidden=None if selection.hidden is None else _leading("hidden", selection.hidden),
        attn={j: _leading(f"attn.{j}", factor) for j, factor in selection.attn.items()},
        ffn={j: _leading(f"ffn.{j}", factor) for j, factor in selection.ffn.items()},
    )


def truncation(selection: Operators, radii: Radii) -> Operators:
    """The operators that map the permuted source to the result of `selection` on the source."""

    def leading(radius: int, factor: Factor) -> OneHot:
        outputs, inputs = factor.shape
        return keeping(range(outputs // radius), inputs // radius)

    hidden = selection.hidden
    return replace(
        selection,
        radii=radii,
        hidden=None if hidden is None else leading(radii.hidden, hidden),
        attn={j: leading(radii.attention, factor) for j, factor in selection.attn.items()},
        ffn={j: leading(radii.ffn, factor) for j, factor in selection.ffn.items()},
    )


def _leading(name: str, factor: Factor) -> OneHot:
    """The square permutation whose first rows are those of `factor`."""
    kept = one_hot(factor)
    if kept is None or kept.empty is not None or len(kept.chosen.unique()) != len(kept.chosen):
        raise BadInput(
            f"operator {name} is no selection of distinct channels; only a selection made with "
            "receptive field 1 can be permuted to the front"
        )
    dropped = torch.ones(kept.num_inputs, dtype=torch.bool)
    dropped[kept.chosen] = False
    return OneHot(torch.cat([kept.chosen, dropped.nonzero().flatten()]), kept.num_inputs)
