"""Hugging Face's decoder of a family with the weights passed in layer by layer.

The teacher passes the source's tensors, the student fused ones and a builder those of an unfinished
model, so all run the same code as an exported model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lemon.architecture import LAYER_TENSORS, LAYER_TYPES, NORM_TYPES
from lemon.config_json import sliding_window
from lemon.errors import BadInput

LayerWeights = dict[str, Tensor]
"""The tensors of one layer by their keys in LAYER_TENSORS, e.g. "q"."""

Positions = tuple[Tensor, Tensor]
"""Cosine and sine of the rotary embedding, each [1, T, head_dim]."""


def _class_of(model_type: str, name: str) -> Any:
    """A class of a model type in transformers, which names all alike, e.g. Qwen3DecoderLayer."""
    module = import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    return getattr(module, f"{model_type.capitalize()}{name}")


class Decoder:
    """The computation of a model without any weights.

    Shapes: B sequences, T tokens, D hidden size.

    Attributes:
        config: the model's `config.json`.
    """

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        """`device` is that of the hidden states."""
        self.config = config
        self._window = sliding_window(config)
        own = partial(_class_of, config["model_type"])
        settings, norm = own("Config").from_dict(config), own("RMSNorm")
        settings._attn_implementation = "sdpa"
        with torch.device("meta"):  # the weights are passed with each call
            self._layer = own("DecoderLayer")(settings, layer_idx=0)
            self._norm = norm(settings.hidden_size, eps=settings.rms_norm_eps)
        self.norm_eps = torch.tensor(settings.rms_norm_eps, device=device)
        for module in (*self._layer.modules(), self._norm):
            if isinstance(module, norm):  # as a buffer, it can be passed with each call
                del module.variance_epsilon
                # A copy for each norm, since one tensor in all could not be given two values.
                module.register_buffer("variance_epsilon", self.norm_eps.clone())
        self._norms_eps = dict(self._layer.named_buffers())
        self._rotary = own("RotaryEmbedding")(settings).to(device)

    def positions(self, hidden_BTD: Tensor) -> Positions:
        """The rotary embedding of positions 0..T-1, in the format of the hidden states.

        BadInput if T exceeds the sliding window of the model's attention.
        """
        if self._window is not None and hidden_BTD.shape[1] > self._window:
            raise BadInput(
                f"a sequence has {hidden_BTD.shape[1]} tokens, and the model attends to a sliding "
                f"window of {self._window}; set text.sequence_length to at most that"
            )
        steps = torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device)[None]
        return self._rotary(hidden_BTD, steps)

    def layer(
        self,
        hidden_BTD: Tensor,
        weights: LayerWeights,
        positions: Positions,
        norm_eps: Tensor | None = None,
    ) -> Tensor:
        """One decoder layer with causal attention over all T tokens.

        `norm_eps`, a scalar, replaces the model's own in both norms of the residual stream.
        """
        named = self._norms_eps | {LAYER_TENSORS[type].name: w for type, w in weights.items()}
        if norm_eps is not None:
            named |= {f"{LAYER_TYPES[type][0]}.variance_epsilon": norm_eps for type in NORM_TYPES}
        return functional_call(
            self._layer, named, (hidden_BTD,), {"position_embeddings": positions}, strict=True
        )

    @contextmanager
    def watched(self, calls: Mapping[str, Callable[[Tensor], None]]) -> Iterator[None]:
        """Hand the input [B, T, in] of these matrices of a layer, by type, to functions."""

        def hook(call: Callable[[Tensor], None]) -> Callable[[Any, tuple[Tensor, ...]], None]:
            return lambda _, inputs: call(inputs[0])

        modules = {type: self._layer.get_submodule(LAYER_TYPES[type][0]) for type in calls}
        handles = [modules[type].register_forward_pre_hook(hook(calls[type])) for type in calls]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def final_norm(
        self, hidden_BTD: Tensor, weight_D: Tensor, norm_eps: Tensor | None = None
    ) -> Tensor:
        """The norm before the head."""
        eps = self.norm_eps if norm_eps is None else norm_eps
        return functional_call(
            self._norm, {"weight": weight_D, "variance_epsilon": eps}, (hidden_BTD,), strict=True
        )
