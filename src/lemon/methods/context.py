"""The input from which a method builds operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.radii import Radii


@dataclass(frozen=True)
class BuildContext:
    """The input of a builder.

    Attributes:
        source: the large model.
        target: sizes of the small model.
        radii: receptive fields of the dimension operators, if widths shrink.
        seed: of the builder's random numbers.
        start: builder of the operators that a learned method starts from; None for other methods.
    """

    source: Checkpoint
    target: LlamaShape
    radii: Radii = field(default_factory=Radii)
    seed: int = 0
    start: Builder | None = None

    def require_depth_only(self, method: str) -> None:
        """Refuse a target with other widths or with more layers.

        Raises:
            BadInput: a size other than the number of layers differs, or the target is deeper.
        """
        same_widths = self.source.shape.with_depth(self.target.num_hidden_layers)
        if self.target != same_widths:
            raise BadInput(
                f"method {method} removes layers only, and the target changes widths; take a "
                "target that names num_hidden_layers alone, or the method cut"
            )
        self.require_no_growth(method)

    def require_no_growth(self, method: str) -> None:
        """Refuse a target larger than the source in any size.

        Raises:
            BadInput: naming the size.
        """
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


Builder = Callable[[BuildContext], Operators]
