"""The architecture of each family as data: every tensor, and the role of each of its axes.

Fusing, exporting, counting and comparing all iterate over `tensor_specs`; no other module names
tensors. No torch is imported here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache
from math import prod
from typing import Any

from lemon.errors import BadInput


class Axis(StrEnum):
    """The role of an axis of a weight; axes of one role must be mapped alike."""

    VOCAB = "vocab"
    HIDDEN = "hidden"  # the residual stream
    QUERY = "query"  # query heads x head_dim
    KEY_VALUE = "key_value"  # key/value heads x head_dim
    FFN = "ffn"  # FFN neurons
    HEAD = "head"  # channels of one head; what lies on them is shared by all heads


# No known model exceeds these; listing the tensors of a larger one would take long.
MOST_LAYERS = 10_000
LARGEST_SIZE = 1 << 24

# The nine parameter types of a layer (the paper's T), with the name inside a decoder layer and
# the roles of the axes in the Hugging Face layout [out, in].
LAYER_TYPES: dict[str, tuple[str, tuple[Axis, ...]]] = {
    "q": ("self_attn.q_proj", (Axis.QUERY, Axis.HIDDEN)),
    "k": ("self_attn.k_proj", (Axis.KEY_VALUE, Axis.HIDDEN)),
    "v": ("self_attn.v_proj", (Axis.KEY_VALUE, Axis.HIDDEN)),
    "o": ("self_attn.o_proj", (Axis.HIDDEN, Axis.QUERY)),
    "gate": ("mlp.gate_proj", (Axis.FFN, Axis.HIDDEN)),
    "up": ("mlp.up_proj", (Axis.FFN, Axis.HIDDEN)),
    "down": ("mlp.down_proj", (Axis.HIDDEN, Axis.FFN)),
    "ln1": ("input_layernorm", (Axis.HIDDEN,)),
    "ln2": ("post_attention_layernorm", (Axis.HIDDEN,)),
}
FFN_TYPES = ("gate", "up", "down")
NORM_TYPES = ("ln1", "ln2")  # those that are gains, not matrices


@dataclass(frozen=True)
class LayerTensor:
    """One tensor of a layer.

    Attributes:
        name: inside a decoder layer.
        axes: the role of each axis in the Hugging Face layout.
        follows: the parameter type whose gamma mixes it over the layers.
    """

    name: str
    axes: tuple[Axis, ...]
    follows: str

    @property
    def inner_axis(self) -> Axis | None:
        """The first axis that is not the residual stream; None if there is none."""
        return next((axis for axis in self.axes if axis is not Axis.HIDDEN), None)


# Tensors of a layer, those of some families last. A bias follows its matrix, since row i of both
# is one affine map. The gains of a head follow the norm before attention: a mean of gains is a
# gain, but CoMe adds up the matrices of two layers (decision 0034).
LAYER_TENSORS: dict[str, LayerTensor] = {
    **{
        type: LayerTensor(f"{name}.weight", axes, type)
        for type, (name, axes) in LAYER_TYPES.items()
    },
    "q_bias": LayerTensor("self_attn.q_proj.bias", (Axis.QUERY,), "q"),
    "k_bias": LayerTensor("self_attn.k_proj.bias", (Axis.KEY_VALUE,), "k"),
    "v_bias": LayerTensor("self_attn.v_proj.bias", (Axis.KEY_VALUE,), "v"),
    "q_norm": LayerTensor("self_attn.q_norm.weight", (Axis.HEAD,), "ln1"),
    "k_norm": LayerTensor("self_attn.k_norm.weight", (Axis.HEAD,), "ln1"),
}

# By family, the tensors of its layers.
FAMILIES: dict[str, tuple[str, ...]] = {
    "llama": tuple(LAYER_TYPES),
    "qwen2": (*LAYER_TYPES, "q_bias", "k_bias", "v_bias"),
    "qwen3": (*LAYER_TYPES, "q_norm", "k_norm"),
}


@dataclass(frozen=True)
class LlamaShape:
    """The sizes and the family, which fix the name and shape of every tensor of a model."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int  # fewer than query heads with grouped-query attention
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool = False  # the head is the embedding and has no tensor of its own
    family: str = "llama"  # key of FAMILIES

    def __post_init__(self) -> None:
        sizes = dict(vars(self))
        if (family := sizes.pop("family")) not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise BadInput(f"family is {str(family)[:40]!r}; it must be one of {known}")
        for name, value in sizes.items():
            wanted = bool if name == "tie_word_embeddings" else int
            if type(value) is not wanted:
                kind = "true or false" if wanted is bool else "a whole number"
                raise BadInput(f"{name} is {str(value)[:40]!r}; it must be {kind}")
            most = MOST_LAYERS if name == "num_hidden_layers" else LARGEST_SIZE
            if wanted is int and not 1 <= value <= most:
                given = value if abs(value) < 10**12 else "a number of over 12 digits"
                raise BadInput(f"{name} is {given}; it must be at least 1 and at most {most}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise BadInput(
                f"num_attention_heads is {self.num_attention_heads}, which num_key_value_heads "
                f"({self.num_key_value_heads}) does not divide; every key/value head serves "
                "the same number of query heads"
            )

    def sizes(self) -> dict[str, Any]:
        """All fields by name, as they are written to files.

        The family is left out if it is LLaMA's: files from before there were others have none.
        """
        fields = asdict(self)
        if self.family == "llama":
            del fields["family"]
        return fields

    @property
    def layer_tensors(self) -> dict[str, LayerTensor]:
        """The tensors of each layer by their keys in LAYER_TENSORS, in stored order."""
        return {key: LAYER_TENSORS[key] for key in FAMILIES[self.family]}

    @property
    def head_gains(self) -> list[str]:
        """The tensors with a gain for each channel of a head, which all heads share."""
        return [key for key, tensor in self.layer_tensors.items() if Axis.HEAD in tensor.axes]

    @property
    def group_size(self) -> int:
        """Query heads per key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    def axis_size(self, axis: Axis) -> int:
        """The length of an axis of this role."""
        return {
            Axis.VOCAB: self.vocab_size,
            Axis.HIDDEN: self.hidden_size,
            Axis.QUERY: self.num_attention_heads * self.head_dim,
            Axis.KEY_VALUE: self.num_key_value_heads * self.head_dim,
            Axis.FFN: self.intermediate_size,
            Axis.HEAD: self.head_dim,
        }[axis]

    @property
    def num_parameters(self) -> int:
        """Parameters of the model; a tied head is counted once."""
        return sum(spec.num_elements for spec in tensor_specs(self))

    @property
    def ffn_parameters(self) -> int:
        """Parameters of one layer's FFN."""
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def parameters_without_vocabulary(self) -> int:
        """Parameters of the model without its embedding and its head."""
        return sum(s.num_elements for s in tensor_specs(self) if Axis.VOCAB not in s.axes)

    def with_depth(self, num_hidden_layers: int) -> LlamaShape:
        """The same widths at another number of layers."""
        return replace(self, num_hidden_layers=num_hidden_layers)

    def difference(self, other: LlamaShape) -> str:
        """List the sizes in which another shape differs: `hidden_size 64, not 96; ...`."""
        others = asdict(other)
        differing = ((size, mine) for size, mine in asdict(self).items() if mine != others[size])
        return "; ".join(f"{size} {mine}, not {others[size]}" for size, mine in differing)


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: its Hugging Face name, its shape and the role of each axis."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    layer: int | None = None  # None for embedding, final norm and head
    type: str | None = None  # key of LAYER_TENSORS; None with `layer`

    @property
    def num_elements(self) -> int:
        """Entries of the tensor."""
        return prod(self.shape)


def layer_tensor_name(type: str, layer: int) -> str:
    """The Hugging Face name of a layer's tensor, e.g. ('q', 3)."""
    return f"model.layers.{layer}.{LAYER_TENSORS[type].name}"


@lru_cache(maxsize=64)
def tensor_specs(shape: LlamaShape) -> tuple[TensorSpec, ...]:
    """Every tensor of a model of this shape, in stored order.

    Kept, since costs and sizes ask for the same few shapes thousands of times.
    """

    def spec(name: str, axes: tuple[Axis, ...], **place: Any) -> TensorSpec:
        return TensorSpec(name, tuple(shape.axis_size(axis) for axis in axes), axes, **place)

    specs = [spec("model.embed_tokens.weight", (Axis.VOCAB, Axis.HIDDEN))]
    for layer in range(shape.num_hidden_layers):
        for type, tensor in shape.layer_tensors.items():
            specs.append(spec(layer_tensor_name(type, layer), tensor.axes, layer=layer, type=type))
    specs.append(spec("model.norm.weight", (Axis.HIDDEN,)))
    if not shape.tie_word_embeddings:
        specs.append(spec("lm_head.weight", (Axis.VOCAB, Axis.HIDDEN)))
    return tuple(specs)
