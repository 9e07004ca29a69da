"""The source model's weights, stacked over layers as the layer operator reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TYPES, LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.learning.decoder import LayerWeights


class SourceStack(nn.Module):
    """The large model: per type one [L1, *shape] tensor, and the tensors outside the layers.

    Frozen weights are held in the compute format. Weights that learn are held in float32, and cast
    to it where they are used; steps of 1e-4 vanish in bfloat16.
    """

    def __init__(
        self, source: Checkpoint, *, dtype: torch.dtype, device: torch.device, learns: bool = False
    ) -> None:
        """Args:
        source: the folder to read; one tensor is in memory at a time beside the stack.
        dtype: the compute format.
        device: where the stack lives.
        learns: whether the weights take gradients.
        """
        super().__init__()
        self.shape: LlamaShape = source.shape
        self.dtype = dtype
        held = torch.float32 if learns else dtype

        def read(name: str) -> Tensor:
            return source.tensor(name).to(device=device, dtype=held)

        def parameter(value: Tensor) -> nn.Parameter:
            return nn.Parameter(value, requires_grad=learns)

        depth = self.shape.num_hidden_layers
        self.layers = nn.ParameterDict()
        for type in LAYER_TYPES:
            first = read(layer_tensor_name(type, 0))
            stack = first.new_empty((depth, *first.shape))
            stack[0] = first
            for layer in range(1, depth):
                stack[layer] = read(layer_tensor_name(type, layer))
            self.layers[type] = parameter(stack)
        self.embedding = parameter(read("model.embed_tokens.weight"))
        self.final_norm = parameter(read("model.norm.weight"))
        self.head = None if self.shape.tie_word_embeddings else parameter(read("lm_head.weight"))

    def used(self, weight: Tensor) -> Tensor:
        """A weight in the compute format."""
        return weight.to(self.dtype)

    def head_weight(self) -> Tensor:
        """The output embedding [V, D] in the compute format; the embedding where it is tied."""
        return self.used(self.embedding if self.head is None else self.head)

    def layer(self, index: int) -> LayerWeights:
        """The weights of one source layer in the compute format."""
        return {type: self.used(self.layers[type][index]) for type in LAYER_TYPES}

    def named_weights(self) -> dict[str, Tensor]:
        """Every tensor under its Hugging Face name, as it is held."""
        named = {
            layer_tensor_name(type, layer): self.layers[type].data[layer]
            for layer in range(self.shape.num_hidden_layers)
            for type in LAYER_TYPES
        }
        named["model.embed_tokens.weight"] = self.embedding.data
        named["model.norm.weight"] = self.final_norm.data
        if self.head is not None:
            named["lm_head.weight"] = self.head.data
        return named
