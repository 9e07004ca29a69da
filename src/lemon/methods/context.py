"""The input from which a method builds operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lemon.architecture import LAYER_TYPES, NORM_TYPES, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.methods.kept_rounds import KeptRounds
from lemon.operators.algebra import Operators
from lemon.operators.factor import Factor, keeping
from lemon.radii import Radii

if TYPE_CHECKING:
    from lemon.methods.calibration import Calibration


@dataclass(frozen=True)
class BuildContext:
    """The input of a builder, whose method can make the target, as the configuration has checked.

    Attributes:
        source: the large model.
        target: sizes of the small model.
        radii: receptive fields of the dimension operators, if widths shrink.
        start: the operators that a method with a start begins from; None for other methods.
        calibration: the source on training text, for a method that looks at activations.
        method: the method's name, where one builder serves several.
        tied_ffn_layers: how many neighbouring layers share one FFN; 1 for none.
        window_stride: layers between the windows that a search tries.
        kept_rounds: those of a search that removes one layer a round.
        record: what the builder tells of its decisions, for the manifest of a run that it makes.
    """

    source: Checkpoint
    target: LlamaShape
    radii: Radii = field(default_factory=Radii)
    seed: int = 0
    start: Operators | None = None
    calibration: Calibration | None = None
    method: str = ""
    tied_ffn_layers: int = 1
    window_stride: int = 1
    kept_rounds: KeptRounds = field(default_factory=KeptRounds)
    record: dict[str, Any] = field(default_factory=dict)

    def calibrated(self) -> Calibration:
        """The calibration of a method that looks at activations."""
        assert self.calibration is not None
        return self.calibration

    def layer_operators(self, gamma: Factor, norms: Factor | None = None) -> Operators:
        """The operators that apply one gamma [L2, L1] to all nine types and keep all widths.

        `norms` is another one for the two norms. L2 may be the depth of an unfinished model.
        """
        target = self.source.shape.with_depth(gamma.shape[0])
        types = {t: norms if norms and t in NORM_TYPES else gamma for t in LAYER_TYPES}
        return Operators(self.source.shape, target, self.radii, gamma=types)

    def keeping_layers(self, layers: Sequence[int]) -> Operators:
        """The operators that keep these layers of the source, in this order."""
        return self.layer_operators(keeping(layers, self.source.shape.num_hidden_layers))


def windows(depth: int, size: int, stride: int) -> list[range]:
    """The windows of `size` of `depth` layers that a search tries; the last is one of them.

    They start `stride` layers apart.
    """
    last = depth - size
    return [range(n, n + size) for n in sorted({*range(0, last, stride), last})]
