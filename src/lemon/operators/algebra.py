"""All operators of one fusion, and the linear map that they define.

    W_small^t[i] = sum_j gamma^t[i, j] * Row_j W^t[j] Col_j^T        t = q, k, v, o, gate, ...

Paper, sections 3.2 to 3.5 (equations 2 to 4 and Algorithm 1). Cut, Random, Avg and structured
pruning use fixed operators of this form; LEMON learns them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from lemon.architecture import FFN_TYPES, LAYER_TYPES, Axis, LlamaShape
from lemon.errors import BadInput
from lemon.operators.factor import Factor
from lemon.operators.head_gains import require_whole_heads
from lemon.operators.receptive_field import AxisMap
from lemon.radii import Radii


@dataclass
class Operators:
    """A linear map from models of one shape to models of another.

    An absent factor is the identity, which is legal only if the sizes are equal.

    Attributes:
        source: sizes of the large model (L1, D1, H1, ...).
        target: sizes of the small model (L2, D2, H2, ...).
        radii: receptive fields of the dimension operators.
        gamma: layer operators, [L2, L1], by layer type (q, k, v, o, gate, up, down, ln1, ln2).
        hidden: small factor of B, [D2 / r_h, D1 / r_h], for the whole model.
        attn: small factors of A_attn on the key/value axis, [kv2 * d / r_a, kv1 * d / r_a], by
            source layer; the query heads of a group are mixed like their key/value head.
        ffn: small factors of A_ffn, [H2 / r_i, H1 / r_i], by source layer.

    Raises:
        BadInput: a factor is missing, unknown or misshapen, the shapes can't be fused, or a factor
            splits heads whose channels have gains.
    """

    source: LlamaShape
    target: LlamaShape
    radii: Radii = field(default_factory=Radii)
    gamma: Mapping[str, Factor] = field(default_factory=dict)
    hidden: Factor | None = None
    attn: Mapping[int, Factor] = field(default_factory=dict)
    ffn: Mapping[int, Factor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {name: factor.shape for name, factor in self.named_factors()}
        check_factors(shapes, self.source, self.target, self.radii)
        require_whole_heads(self.source, self.radii.attention, self.attn)

    @classmethod
    def from_named(
        cls, factors: Mapping[str, Factor], source: LlamaShape, target: LlamaShape, radii: Radii
    ) -> Operators:
        """Operators from factors by their names in the file format; inverse of `named_factors`."""
        shapes = {name: factor.shape for name, factor in factors.items()}
        check_factors(shapes, source, target, radii)
        layers = range(source.num_hidden_layers)
        return cls(
            *(source, target, radii),
            gamma={t: factors[f"gamma.{t}"] for t in LAYER_TYPES if f"gamma.{t}" in factors},
            hidden=factors.get("hidden"),
            attn={j: factors[f"attn.{j}"] for j in layers if f"attn.{j}" in factors},
            ffn={j: factors[f"ffn.{j}"] for j in layers if f"ffn.{j}" in factors},
        )

    def named_factors(self) -> Iterator[tuple[str, Factor]]:
        """Every factor that is present, by its name in the file format."""
        for type in LAYER_TYPES:
            if type in self.gamma:
                yield f"gamma.{type}", self.gamma[type]
        yield from ((f"gamma.{t}", g) for t, g in self.gamma.items() if t not in LAYER_TYPES)
        if self.hidden is not None:
            yield "hidden", self.hidden
        for family, factors in (("attn", self.attn), ("ffn", self.ffn)):
            yield from ((f"{family}.{layer}", factors[layer]) for layer in sorted(factors))

    @property
    def tied_ffn(self) -> list[list[int]]:
        """Windows of neighbouring target layers that get the same FFN.

        Their rows of gamma are equal for gate, up and down, so their weights are, bit for bit.
        """
        if any(type not in self.gamma for type in FFN_TYPES):
            return []
        rows = [self.gamma[type].dense().tolist() for type in FFN_TYPES]
        by_layer = list(enumerate(zip(*rows, strict=True)))
        windows = ([i for i, _ in run] for _, run in groupby(by_layer, key=itemgetter(1)))
        return [window for window in windows if len(window) > 1]

    def axis_map(self, axis: Axis, layer: int | None) -> AxisMap | None:
        """The operator on an axis in a source layer (None outside layers); None is the identity."""
        if axis is Axis.HIDDEN and self.hidden is not None:
            return AxisMap(self.hidden, self.radii.hidden)
        if layer is None:
            return None
        if axis is Axis.FFN and layer in self.ffn:
            return AxisMap(self.ffn[layer], self.radii.ffn)
        if axis in (Axis.KEY_VALUE, Axis.QUERY) and layer in self.attn:
            radius = self.radii.attention
            copies = self.source.group_size if axis is Axis.QUERY else 1
            blocks_per_head = max(1, self.source.head_dim // radius)
            return AxisMap(self.attn[layer], radius, copies, blocks_per_head)
        return None


def check_factors(
    shapes: Mapping[str, tuple[int, ...]], source: LlamaShape, target: LlamaShape, radii: Radii
) -> None:
    """Check the names and shapes of operator factors against the source and target.

    Raises:
        BadInput: naming the first wrong factor and the shape that it must have.
    """
    for name in ("family", "head_dim", "group_size", "vocab_size", "tie_word_embeddings"):
        large, small = getattr(source, name), getattr(target, name)
        if large != small:
            raise BadInput(
                f"{name} is {large} in the source and {small} in the target; fusing keeps it"
            )
    legal = factor_shapes(source, target, radii)
    between = f"from {_sizes(source)} to {_sizes(target)}"
    for name, shape in shapes.items():
        if name not in legal:
            raise BadInput(
                f"operator {name} is unknown; legal names are gamma.{{{','.join(LAYER_TYPES)}}}, "
                f"hidden, and attn.<j>, ffn.<j> for the source layers j = 0 to "
                f"{source.num_hidden_layers - 1}"
            )
        if shape != legal[name]:
            raise BadInput(
                f"operator {name} is {list(shape)}; {between} with receptive fields {radii} it "
                f"must be {list(legal[name])}"
            )
    for name, shape in legal.items():
        if name not in shapes and shape[0] != shape[1]:
            raise BadInput(
                f"operator {name} is missing; {between} it must be {list(shape)}, and only a "
                "square operator may be left out"
            )


def factor_shapes(
    source: LlamaShape, target: LlamaShape, radii: Radii
) -> dict[str, tuple[int, int]]:
    """The shape of every possible factor of operators between these models, by name.

    Raises:
        BadInput: a radius does not divide the sizes of its axis.
    """
    depth = (target.num_hidden_layers, source.num_hidden_layers)
    hidden, attn, ffn = (
        radii.factor_shape(axis, source, target) for axis in (Axis.HIDDEN, Axis.KEY_VALUE, Axis.FFN)
    )
    layers = range(source.num_hidden_layers)
    return {
        **{f"gamma.{type}": depth for type in LAYER_TYPES},
        "hidden": hidden,
        **{f"attn.{layer}": attn for layer in layers},
        **{f"ffn.{layer}": ffn for layer in layers},
    }


def _sizes(shape: LlamaShape) -> str:
    return (
        f"{shape.num_hidden_layers} layers of width {shape.hidden_size}, "
        f"{shape.num_key_value_heads} key/value heads and {shape.intermediate_size} FFN neurons"
    )
