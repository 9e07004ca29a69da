"""How a student's weights come from the source's: layers mixed or selected, widths mapped, masked.

Each fusion is the paper's operators restricted to what it trains. The student asks it for its
embedding, its layers and its final norm, and does not know which kind it is.

Shapes: B sequences, T tokens, D hidden size, L1 and L2 layers of source and target, S layers of a
segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TYPES
from lemon.learning.decoder import LayerWeights
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense


class Fusion(nn.Module, ABC):
    """The defaults are those of a student with the source's widths."""

    num_hidden_layers: int
    norm_eps: Tensor | None = None  # None is the model's own

    def begin_pass(self, draw: tuple[int, int] | None, *, at_target: bool = True) -> None:
        """Set the gates for the next pass; without gates there is nothing to set.

        Args:
            draw: sample them for this (step, microbatch); None sets them without noise.
            at_target: without noise, as many are open as the target has, which is the model that
                is exported. Otherwise as many as are expected to be open now.
        """

    def embed(self, source: SourceWeights, tokens_BT: Tensor) -> Tensor:
        """The first hidden states [B, T, D]."""
        return source.embed(tokens_BT)

    @abstractmethod
    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The weights of layers first, ..., last - 1, without layers that are masked out."""

    def final_norm(self, source: SourceWeights) -> Tensor:
        """The gain [D] of the last norm."""
        return source.used(source.final_norm)

    def to_head(self, hidden_BTD: Tensor) -> Tensor:
        """The student's last hidden states as the source's head reads them."""
        return hidden_BTD

    @abstractmethod
    def operators(self) -> Operators:
        """The operators as they are now."""

    def exported_weights(self, source: SourceWeights) -> Iterator[tuple[str, Tensor]]:
        """The tensors that the operators apply to, by their Hugging Face names."""
        yield from source.named_weights().items()


class DepthFusion(Fusion):
    """The layer operator as parameters: W_small[i] = sum_j gamma[i, j] W[j] for each type.

    `gamma` holds float32 masters, which are cast to the compute format where they are used.
    """

    def __init__(self, start: Operators, device: torch.device) -> None:
        """Args:
        start: the operators at the start; all nine types must have a gamma.
        device: where the parameters live.
        """
        super().__init__()
        self.start = start
        self.num_hidden_layers = start.target.num_hidden_layers
        self.gamma = nn.ParameterDict(
            {
                type: nn.Parameter(start.gamma[type].dense().to(device, torch.float32, copy=True))
                for type in LAYER_TYPES
            }
        )

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The fused weights of target layers first, ..., last - 1.

        One product for each type serves the whole segment. The stack is then read once for S
        layers, which is what bounds the cost (K = L1 is far too small to fill the units).
        """
        assert isinstance(source, SourceStack)
        fused = {}
        for type, gamma in self.gamma.items():
            weights = source.used(source.layers[type])
            rows = gamma[first:last].to(weights.dtype)
            segment = (rows @ weights.flatten(1)).unflatten(1, weights.shape[1:])
            # Indexing would make the gradient of each layer a whole segment of zeros to be added.
            fused[type] = segment.unbind(0)
        return [{type: fused[type][i] for type in fused} for i in range(last - first)]

    def operators(self) -> Operators:
        """The operators as they are now."""
        return replace(
            self.start, gamma={t: Dense(g.detach().cpu()) for t, g in self.gamma.items()}
        )


class LayerSelection(Fusion):
    """One source layer for each target layer; it has no parameters."""

    def __init__(self, start: Operators, kept: Sequence[int]) -> None:
        """Args:
        start: the operators that select.
        kept: the source layer of each target layer.
        """
        super().__init__()
        self.start = start
        self.kept = list(kept)
        self.num_hidden_layers = len(self.kept)

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The selected layers' own weights in the compute format."""
        assert isinstance(source, SourceLayers)
        return [source.layer(layer) for layer in self.kept[first:last]]

    def operators(self) -> Operators:
        """The operators of the start."""
        return self.start
