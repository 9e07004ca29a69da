"""The receptive fields of the three families of dimension operators. No torch is imported here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lemon.architecture import Axis, LlamaShape
from lemon.errors import BadInput


@dataclass(frozen=True)
class Radii:
    """Channels tied in one block (the paper's r), for each family of operators."""

    hidden: int = 1  # r_h, of B on the residual stream
    attention: int = 1  # r_a, of A_attn on the key/value axis; `head_dim` mixes whole heads
    ffn: int = 1  # r_i, of A_ffn on the FFN neurons

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise BadInput(
                    f"receptive field {name} is {str(value)[:40]}; it must be a whole number of at "
                    "least 1"
                )

    def __str__(self) -> str:
        """In the paper's notation r_a-r_i; r_h is added if it is not r_i."""
        own = "" if self.hidden == self.ffn else f" (hidden {self.hidden})"
        return f"{self.attention}-{self.ffn}{own}"

    def of(self, axis: Axis) -> int:
        """The radius on an axis of this role."""
        by_axis = {Axis.HIDDEN: self.hidden, Axis.KEY_VALUE: self.attention, Axis.FFN: self.ffn}
        return by_axis[axis]

    def factor_shape(self, axis: Axis, source: LlamaShape, target: LlamaShape) -> tuple[int, int]:
        """The shape [out / r, in / r] of the small factor on an axis.

        BadInput if r does not divide both sizes (method.md, open point 15), or an attention radius
        does not fit the head size.
        """
        radius, large, small = self.of(axis), source.axis_size(axis), target.axis_size(axis)
        if radius in legal_radii(axis, source, target):
            return small // radius, large // radius
        fault = f"does not divide its sizes {large} and {small}"
        if large % radius == 0 and small % radius == 0:
            fault = f"cuts heads of {source.head_dim} channels unevenly"
        raise BadInput(refusal(radius, axis, fault, legal_radii(axis, source, target)))

    def parameters(self, source: LlamaShape, target: LlamaShape) -> int:
        """Entries of the small factors of B, of every A_attn and of every A_ffn."""
        layers = source.num_hidden_layers
        hidden, attention, ffn = (
            math.prod(self.factor_shape(axis, source, target))
            for axis in (Axis.HIDDEN, Axis.KEY_VALUE, Axis.FFN)
        )
        return hidden + layers * (attention + ffn)

    def ffn_share(self, source: LlamaShape, target: LlamaShape) -> float:
        """Entries of every A_ffn as a percentage of the small model's parameters."""
        entries = source.num_hidden_layers * math.prod(self.factor_shape(Axis.FFN, source, target))
        return 100 * entries / target.num_parameters


def named_radii(name: str | None) -> Radii | None:
    """Radii of a name in the paper's notation, as `128-2`, with r_h = r_i; None for other names."""
    if not (found := re.fullmatch(r"(\d+)-(\d+)", name or "")):
        return None
    attention, ffn = map(int, found.groups())
    return Radii(hidden=ffn, attention=attention, ffn=ffn)


def legal_radii(axis: Axis, source: LlamaShape, target: LlamaShape) -> list[int]:
    """Every radius that divides both sizes of an axis and splits heads evenly, ascending."""
    large, small, head = source.axis_size(axis), target.axis_size(axis), source.head_dim
    both = math.gcd(large, small)
    below = [r for r in range(1, math.isqrt(both) + 1) if both % r == 0]
    common = sorted({*below, *(both // r for r in below)})
    if axis is Axis.KEY_VALUE:
        return [r for r in common if head % r == 0 or r % head == 0]
    return common


def split_heads(shape: LlamaShape, radius: int) -> str | None:
    """Why attention operators of this radius don't fit a model's gains; None if they do.

    A gain for each channel of a head, the same in all heads, can't follow a channel that is mixed
    with others of its head.
    """
    if radius >= shape.head_dim or not shape.head_gains:
        return None
    return (
        f"splits heads, whose {shape.head_dim} channels have gains that all heads share "
        f"({', '.join(shape.head_gains)}); mix whole heads, by radii with attention: 100%"
    )


def refusal(radius: int, axis: Axis, fault: str, legal: list[int]) -> str:
    """The message for an illegal radius."""
    values = ", ".join(map(str, legal))
    return f"receptive field {radius} on the {axis} axis {fault}; legal values are {values}"
