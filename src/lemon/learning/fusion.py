"""How a student's weights come from the source's: layers mixed or selected, widths mapped, masked.

Each is the operators restricted to what it learns. The student asks for its embedding, its layers
and its final norm, and runs them; it does not know which of these it is.

Shapes: B sequences, T tokens, D hidden size, L1 and L2 layers of source and target, S layers of a
segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TYPES
from lemon.learning.decoder import LayerWeights
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.operators.algebra import Operators


class Fusion(nn.Module, ABC):
    """What every form shares; where the widths stay, all but the layers is the source's own."""

    num_hidden_layers: int
    norm_eps: Tensor | None = None  # None is the model's own

    def begin_pass(self, draw: tuple[int, int] | None, *, at_target: bool = True) -> None:
        """Fix what is random for the next pass.

        `draw` is (step, microbatch), or None for the deterministic form: that which is exported, or
        with `at_target` false the model at its present size. Nothing is random here.
        """

    def embed(self, source: SourceWeights, tokens_BT: Tensor) -> Tensor:
        """The first hidden states [B, T, D]."""
        return source.embed(tokens_BT)

    @abstractmethod
    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The weights of the student's layers first..last-1; one that does nothing is left out."""

    def final_norm(self, source: SourceWeights) -> Tensor:
        """The gain [D] of the last norm."""
        return source.used(source.final_norm)

    def to_head(self, hidden_BTD: Tensor) -> Tensor:
        """What the source's head reads, from the student's last hidden states."""
        return hidden_BTD


class DepthFusion(Fusion):
    """The layer operator as parameters: W_small[i] = sum_j gamma[i, j] W[j] for each type.

    `gamma` holds float32 masters, and is used in the compute format.
    """

    def __init__(self, start: Operators, device: torch.device) -> None:
        """Args:
        start: the operators to begin from; all nine types must have a gamma.
        device: where the parameters live.
        """
        super().__init__()
        self.num_hidden_layers = start.target.num_hidden_layers
        self.gamma = nn.ParameterDict(
            {
                type: nn.Parameter(start.gamma[type].dense().to(device, torch.float32, copy=True))
                for type in LAYER_TYPES
            }
        )

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The fused weights of target layers first..last-1.

        One product a type serves the whole segment: the stack is read once for S layers, and not
        once for each, which is what bounds the cost (K = L1 is far too small to fill the units).
        """
        assert isinstance(source, SourceStack)
        fused = {}
        for type, gamma in self.gamma.items():
            weights = source.used(source.layers[type])
            rows = gamma[first:last].to(weights.dtype)
            segment = (rows @ weights.flatten(1)).unflatten(1, weights.shape[1:])
            # Indexing would give each layer's gradient a segment of zeros to be added up.
            fused[type] = segment.unbind(0)
        return [{type: fused[type][i] for type in fused} for i in range(last - first)]


class LayerSelection(Fusion):
    """One source layer for each target layer; nothing is learned but, perhaps, the weights."""

    def __init__(self, kept: Sequence[int]) -> None:
        """Args:
        kept: the source layer of each target layer.
        """
        super().__init__()
        self.kept = list(kept)
        self.num_hidden_layers = len(self.kept)

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The kept layers' own weights in the compute format."""
        assert isinstance(source, SourceLayers)
        return [source.layer(layer) for layer in self.kept[first:last]]
