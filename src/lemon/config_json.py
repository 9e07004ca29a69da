"""A model's `config.json`: the shape that it states, and the one that is written for a shape.

What this project cannot fuse, or would load otherwise than it is stored, is refused here.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from lemon.architecture import LlamaShape
from lemon.errors import BadInput

# The family of each known Hugging Face model type. Mistral's layers have LLaMA's tensors, and
# attend to a window (`sliding_window`).
MODEL_TYPES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

ATTENTIONS, FULL_ATTENTION = "layer_types", "full_attention"  # a key of config.json and its value

# Keys of config.json that make transformers load weights other than those in the model's files.
FOREIGN_KEYS = ("quantization_config", "transformers_weights")


def shape_of(config: dict[str, Any]) -> LlamaShape:
    """The shape that a `config.json` states.

    Raises:
        BadInput: a size is missing, or the model is of another family, has other biases than
            its family, or windows of attention in some of its layers.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise BadInput(
            f"model_type is {str(model_type)[:40]!r}; only models of the types "
            f"{', '.join(MODEL_TYPES)} are supported: LLaMA 2 and 3, SmolLM2, TinyLlama, "
            "Mistral, Qwen2, Qwen2.5 and Qwen3"
        )
    for flag in ("attention_bias", "mlp_bias"):
        if config.get(flag):
            raise BadInput(
                f"{flag} is true; biases are supported only in Qwen2, which has no such key"
            )
    if config.get("use_sliding_window") or _attentions(config) - {FULL_ATTENTION}:
        raise BadInput(
            "some layers attend to a sliding window (use_sliding_window, layer_types), and "
            "layers that are mixed must attend alike; only models without one are supported"
        )
    for key in FOREIGN_KEYS:
        if config.get(key) is not None:
            raise BadInput(
                f"{key} is set, which changes the weights that are loaded; save the plain "
                "model, without quantisation or adapters"
            )
    heads, width, head_dim = map(config.get, ("num_attention_heads", "hidden_size", "head_dim"))
    if head_dim is None and isinstance(heads, int) and isinstance(width, int) and heads > 0:
        head_dim = width // heads
    groups = config.get("num_key_value_heads")
    sizes = {
        "tie_word_embeddings": False,
        **config,
        "num_key_value_heads": heads if groups is None else groups,
        "head_dim": head_dim,
        "family": MODEL_TYPES[model_type],
    }
    try:
        return LlamaShape(**{field.name: sizes[field.name] for field in fields(LlamaShape)})
    except KeyError as missing:
        raise BadInput(f"the model's config.json has no {missing}") from None


def config_of(shape: LlamaShape, config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a Hugging Face `config.json` with the sizes of this shape."""
    sizes = {size: value for size, value in asdict(shape).items() if size != "family"}
    if config.get(ATTENTIONS):  # has an entry for each layer
        sizes[ATTENTIONS] = [FULL_ATTENTION] * shape.num_hidden_layers
    return {**config, **sizes}


def _attentions(config: dict[str, Any]) -> set[str]:
    """The kinds of attention that a `config.json` lists by layer; none if it lists none."""
    listed = config.get(ATTENTIONS) or ()
    if not isinstance(listed, list | tuple):
        raise BadInput(f"{ATTENTIONS} is {str(listed)[:40]!r}; it must be a list")
    return set(map(str, listed))


def sliding_window(config: dict[str, Any]) -> int | None:
    """The most tokens that a token attends to, from a `config.json`; None if unlimited.

    BadInput if the value is not a whole number above 0.
    """
    window = config.get("sliding_window")
    if window is None or config.get("model_type") != "mistral":
        return None
    if type(window) is not int or window < 1:
        raise BadInput(f"sliding_window is {str(window)[:40]!r}; it must be a whole number above 0")
    return window
