"""The receptive fields of the three families of dimension operators. No torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from lemon.architecture import Axis, LlamaShape
from lemon.errors import BadInput


@dataclass(frozen=True)
class Radii:
    """Channels tied in one block (the paper's r), per family of operators.

    Attributes:
        hidden: r_h, of B on the residual stream.
        attention: r_a, of A_attn on the key/value axis; `head_dim` mixes whole heads.
        ffn: r_i, of A_ffn on the FFN neurons.
    """

    hidden: int = 1
    attention: int = 1
    ffn: int = 1

    def __str__(self) -> str:
        """As the paper writes them, r_a-r_i; r_h is added where it is not r_i."""
        own = "" if self.hidden == self.ffn else f" (hidden {self.hidden})"
        return f"{self.attention}-{self.ffn}{own}"

    def of(self, axis: Axis) -> int:
        """The radius on an axis of this role."""
        return {
            Axis.HIDDEN: self.hidden,
            Axis.KEY_VALUE: self.attention,
            Axis.FFN: self.ffn,
        }[axis]

    def factor_shape(self, axis: Axis, source: LlamaShape, target: LlamaShape) -> tuple[int, int]:
        """The shape [out / r, in / r] of the small factor on an axis.

        Raises:
            BadInput: r does not divide both sizes (method.md, open point 15), or an attention
                radius does not fit the head size.
        """
        radius, large, small = self.of(axis), source.axis_size(axis), target.axis_size(axis)
        if large % radius or small % radius:
            legal = [r for r in range(1, small + 1) if large % r == 0 and small % r == 0]
            raise BadInput(
                f"receptive field {radius} on the {axis} axis does not divide its sizes {large} "
                f"and {small}; legal values are {', '.join(map(str, legal))}"
            )
        head = source.head_dim
        if axis is Axis.KEY_VALUE and head % radius and radius % head:
            raise BadInput(
                f"receptive field {radius} on the {axis} axis cuts heads of {head} channels "
                "unevenly; take a divisor or a multiple of the head size"
            )
        return small // radius, large // radius
