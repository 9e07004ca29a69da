"""The source model's weights in training: stacked over layers, or layer by layer.

The layer operator mixes layers and reads each type as one stack. Masks and plain training do not
mix layers: each layer's tensor is a separate parameter, so that its gradient has only its size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from lemon.architecture import LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.decoder import LayerWeights


class SourceWeights(nn.Module, ABC):
    """The tensors of the large model; subclasses differ in how they store the layers.

    Frozen weights are stored in the compute format. Trained weights are stored in float32 and cast
    where they are used, because updates of 1e-4 are lost in bfloat16.

    Attributes:
        radius: r of the order [r, D / r] of the residual stream; 1 is the source's own order.
    """

    radius: int = 1

    def __init__(
        self, source: Checkpoint, *, dtype: torch.dtype, device: torch.device, trains: bool = False
    ) -> None:
        """Read the source onto `device`; `dtype` is the compute format.

        If it `trains`, the weights take gradients.
        """
        super().__init__()
        self.shape: LlamaShape = source.shape
        self.dtype = dtype
        self._source = source
        self._device = device
        self._trains = trains
        self.embedding = self._parameter(self._read("model.embed_tokens.weight"))
        self.final_norm = self._parameter(self._read("model.norm.weight"))
        tied = self.shape.tie_word_embeddings
        self.head = None if tied else self._parameter(self._read("lm_head.weight"))
        self._read_layers()

    @abstractmethod
    def _read_layers(self) -> None:
        """Read the layers and set `self.layers`."""

    def _read(self, name: str) -> Tensor:
        held = torch.float32 if self._trains else self.dtype
        return self._source.tensor(name).to(device=self._device, dtype=held)

    def _parameter(self, value: Tensor) -> nn.Parameter:
        return nn.Parameter(value, requires_grad=self._trains)

    def used(self, weight: Tensor) -> Tensor:
        """A weight in the compute format."""
        return weight.to(self.dtype)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """The embedded tokens, [B, T, D] in the compute format."""
        return self.used(functional.embedding(tokens_BT, self.embedding))

    def head_weight(self) -> Tensor:
        """The output embedding [V, D] in the compute format; the embedding itself if tied."""
        return self.used(self.embedding if self.head is None else self.head)

    @abstractmethod
    def held_layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the stored format."""

    def layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the compute format."""
        return {type: self.used(weight) for type, weight in self.held_layer(index).items()}

    def named_weights(self) -> dict[str, Tensor]:
        """All tensors by Hugging Face name, in the stored format, detached."""
        named = {
            layer_tensor_name(type, layer): weight.detach()
            for layer in range(self.shape.num_hidden_layers)
            for type, weight in self.held_layer(layer).items()
        }
        named["model.embed_tokens.weight"] = self.embedding.detach()
        named["model.norm.weight"] = self.final_norm.detach()
        if self.head is not None:
            named["lm_head.weight"] = self.head.detach()
        return named


class SourceStack(SourceWeights):
    """For each tensor of a layer one stack [L1, *shape], for the layer operator."""

    layers: nn.ParameterDict

    def _read_layers(self) -> None:
        depth = self.shape.num_hidden_layers
        self.layers = nn.ParameterDict()
        for type in self.shape.layer_tensors:
            shape = self._source.specs[layer_tensor_name(type, 0)].shape
            stack = self.embedding.new_empty((depth, *shape))
            for layer in range(depth):
                stack[layer] = self._read(layer_tensor_name(type, layer))
            self.layers[type] = self._parameter(stack)

    def held_layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the stored format."""
        return {type: self.layers[type][index] for type in self.shape.layer_tensors}


class SourceLayers(SourceWeights):
    """Each tensor of each layer by itself, for masks and plain training."""

    layers: nn.ModuleList

    def _read_layers(self) -> None:
        self.layers = nn.ModuleList()
        for layer in range(self.shape.num_hidden_layers):
            parameters = {
                type: self._parameter(self._read(layer_tensor_name(type, layer)))
                for type in self.shape.layer_tensors
            }
            self.layers.append(nn.ParameterDict(parameters))

    def held_layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the stored format."""
        layer = self.layers[index]
        assert isinstance(layer, nn.ParameterDict)
        return dict(layer.items())
