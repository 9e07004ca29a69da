"""The source model's weights in training: stacked over layers, or layer by layer.

The layer operator mixes layers and reads each type as one stack. Masks and plain training do not
mix layers: each layer's tensor is a separate parameter, so that its gradient has only its size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lemon.architecture import LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.decoder import LayerWeights
from lemon.training.processes import ALONE, Processes
from lemon.training.shards import Shard


class SourceWeights(nn.Module, ABC):
    """The tensors of the large model; subclasses differ in how they store the layers.

    Frozen weights are stored in the compute format. Trained weights are stored in float32 and cast
    where they are used, because updates of 1e-4 are lost in bfloat16. Of trained weights each of
    several processes holds a share of every tensor, and all together gather what a pass uses.

    Attributes:
        radius: r of the order [r, D / r] of the residual stream; 1 is the source's own order.
    """

    radius: int = 1

    def __init__(
        self,
        source: Checkpoint,
        *,
        dtype: torch.dtype,
        device: torch.device,
        trains: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        """Read the source onto `device`; `dtype` is the compute format.

        If it `trains`, the weights take gradients, and `processes` divide them.
        """
        super().__init__()
        self.shape: LlamaShape = source.shape
        self.dtype = dtype
        self._source = source
        self._device = device
        self._trains = trains
        self._processes = processes if trains else ALONE
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
        return self._as_parameter(self._own(value), value.shape)

    def _own(self, value: Tensor) -> Tensor:
        """What this process holds of a tensor: all of it, or its share."""
        return value if self._processes.count == 1 else self._processes.share(value)

    def _as_parameter(self, own: Tensor, whole_shape: Sequence[int]) -> nn.Parameter:
        """The parameter of what `_own` gave of a tensor, or of each layer of a stack."""
        if self._processes.count > 1:
            return Shard(own, whole_shape, self._processes)
        return nn.Parameter(own, requires_grad=self._trains)

    def used(self, weight: Tensor) -> Tensor:
        """A whole weight in the compute format."""
        return weight.whole(self.dtype) if isinstance(weight, Shard) else weight.to(self.dtype)

    def held(self, weight: Tensor) -> Tensor:
        """A whole weight in the stored format."""
        return weight.whole(weight.dtype) if isinstance(weight, Shard) else weight

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """The embedded tokens, [B, T, D] in the compute format."""
        return self.used(functional.embedding(tokens_BT, self.held(self.embedding)))

    def head_weight(self) -> Tensor:
        """The output embedding [V, D] in the compute format; the embedding itself if tied."""
        return self.used(self.embedding if self.head is None else self.head)

    @abstractmethod
    def held_layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the stored format."""

    def layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the compute format."""
        return {type: self.used(weight) for type, weight in self.held_layer(index).items()}

    @torch.no_grad()
    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by Hugging Face name, in the stored format, detached.

        Processes that divide them go through all together, and each holds one layer at a time.
        """
        for layer in range(self.shape.num_hidden_layers):
            for type, weight in self.held_layer(layer).items():
                yield layer_tensor_name(type, layer), weight.detach()
        yield "model.embed_tokens.weight", self.held(self.embedding).detach()
        yield "model.norm.weight", self.held(self.final_norm).detach()
        if self.head is not None:
            yield "lm_head.weight", self.held(self.head).detach()


class SourceStack(SourceWeights):
    """For each tensor of a layer one stack [L1, *shape], for the layer operator."""

    layers: nn.ParameterDict

    def _read_layers(self) -> None:
        depth = self.shape.num_hidden_layers
        self.layers = nn.ParameterDict()
        for type in self.shape.layer_tensors:
            shape = self._source.specs[layer_tensor_name(type, 0)].shape
            first = self._own(self._read(layer_tensor_name(type, 0)))
            stack = first.new_empty((depth, *first.shape))
            stack[0] = first
            for layer in range(1, depth):
                stack[layer] = self._own(self._read(layer_tensor_name(type, layer)))
            self.layers[type] = self._as_parameter(stack, shape)

    def held_layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the stored format."""
        return {type: self.fused(type, stack[index]) for type, stack in self.layers.items()}

    def fused(self, type: str, row: Tensor) -> Tensor:
        """A whole tensor from a sum over layers of what this process holds of the stack."""
        stack = self.layers[type]
        return stack.gathered(row, row.dtype) if isinstance(stack, Shard) else row.view_as(stack[0])


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
        return {type: self.held(weight) for type, weight in self._layer(index).items()}

    def layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the compute format, in which they are gathered."""
        return {type: self.used(weight) for type, weight in self._layer(index).items()}

    def _layer(self, index: int) -> nn.ParameterDict:
        layer = self.layers[index]
        assert isinstance(layer, nn.ParameterDict)
        return layer
