"""The input from which a method builds operators."""

from __future__ import annotations

from dataclasses import dataclass, field

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.operators.factor import Factor
from lemon.radii import Radii


@dataclass(frozen=True)
class BuildContext:
    """The input of a builder.

    Attributes:
        source: the large model.
        target: sizes of the small model.
        radii: receptive fields of the dimension operators, if widths shrink.
        seed: of the builder's random numbers.
        start: the operators that a learned method starts from; None for other methods.
    """

    source: Checkpoint
    target: LlamaShape
    radii: Radii = field(default_factory=Radii)
    seed: int = 0
    start: Operators | None = None

    def layer_operators(self, gamma: Factor) -> Operators:
        """The operators that apply one gamma to all nine types and keep all widths."""
        all_types = dict.fromkeys(LAYER_TYPES, gamma)
        return Operators(self.source.shape, self.target, self.radii, gamma=all_types)

    def require_depth_only(self, method: str) -> None:
        """Raise BadInput for a target with other widths or with more layers."""
        same_widths = self.source.shape.with_depth(self.target.num_hidden_layers)
        if self.target != same_widths:
            raise BadInput(
                f"method {method} removes layers only, and the target changes widths; take a "
                "target that names num_hidden_layers alone, or the method cut"
            )
        self.require_no_growth(method)

    def require_no_growth(self, method: str) -> None:
        """Raise BadInput for a target that is larger than the source in any size."""
        for name in (
            "num_hidden_layers",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
        ):
            large, small = getattr(self.source.shape, name), getattr(self.target, name)
            if small > large:
                raise BadInput(
                    f"method {method}: the target has {name} {small}, the source only {large}; "
                    f"take at most {large}"
                )
