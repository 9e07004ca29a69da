"""ShortGPT: drop the layers that change the hidden states least.

Men et al. 2024 (arXiv 2403.03853), equation 1: the block influence of a layer is the mean over
tokens of 1 - cos(h before it, h after it), measured once on the source. The layers of lowest
influence are dropped; of equal ones, the last.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from lemon.methods.calibration import cosines
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators


def build(context: BuildContext) -> Operators:
    """Operators that keep the layers of highest influence, in order."""
    calibration, depth = context.calibrated(), context.source.shape.num_hidden_layers
    whole = context.keeping_layers(range(depth))
    found = influences(calibration.through(whole, range(depth)))
    ranked = sorted(range(depth), key=lambda layer: -found[layer])
    return context.keeping_layers(sorted(ranked[: context.target.num_hidden_layers]))


def influences(hidden: Iterable[Tensor]) -> list[float]:
    """The block influence of each layer, from the states before the first, then after each."""
    found, before = [], None
    for after in hidden:
        if before is not None:
            found.append(1 - float(cosines(before, after).mean()))
        before = after
    return found
