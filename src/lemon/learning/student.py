"""The fused student: a model whose weights are a linear image of the source's.

Shapes: B sequences, T tokens, D hidden size, L1 and L2 layers of source and target, S layers of a
segment.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lemon.architecture import LAYER_TYPES
from lemon.learning.decoder import Decoder, LayerWeights
from lemon.learning.source_stack import SourceStack
from lemon.operators.algebra import Operators


class DepthFusion(nn.Module):
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
                type: nn.Parameter(start.gamma[type].to(device, torch.float32, copy=True))
                for type in LAYER_TYPES
            }
        )

    def layers(self, stack: SourceStack, first: int, last: int) -> list[LayerWeights]:
        """The fused weights of target layers first..last-1.

        One product a type serves the whole segment: the stack is read once for S layers, and not
        once for each, which is what bounds the cost (K = L1 is far too small to fill the units).
        """
        fused = {}
        for type, gamma in self.gamma.items():
            weights = stack.used(stack.layers[type])
            rows = gamma[first:last].to(weights.dtype)
            segment = (rows @ weights.flatten(1)).unflatten(1, weights.shape[1:])
            # Indexing would give each layer's gradient a segment of zeros to be added up.
            fused[type] = segment.unbind(0)
        return [{type: fused[type][i] for type in fused} for i in range(last - first)]


class FusedStudent(nn.Module):
    """The small model, built from the source at each pass.

    A segment of layers is fused and run inside one checkpointed block, so that memory holds one
    segment's weights and activations, and not the whole student's.
    """

    def __init__(
        self,
        stack: SourceStack,
        fusion: DepthFusion,
        decoder: Decoder,
        *,
        layers_per_segment: int,
        recompute: bool,
    ) -> None:
        """Args:
        stack: the source's weights.
        fusion: the operators that learn.
        decoder: the computation, at the target's widths.
        layers_per_segment: S, layers fused together.
        recompute: rebuild a segment in the backward pass instead of keeping it.
        """
        super().__init__()
        self.stack = stack
        self.fusion = fusion
        self.decoder = decoder
        self.layers_per_segment = layers_per_segment
        self.recompute = recompute

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D], after the last norm."""
        stack = self.stack
        hidden = functional.embedding(tokens_BT, stack.used(stack.embedding))
        positions = self.decoder.positions(hidden)
        depth = self.fusion.num_hidden_layers
        for first in range(0, depth, self.layers_per_segment):
            last = min(first + self.layers_per_segment, depth)
            arguments = (hidden, positions[0], positions[1], first, last)
            if self.recompute and torch.is_grad_enabled():
                hidden = checkpoint(
                    self._segment, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden = self._segment(*arguments)
        return self.decoder.final_norm(hidden, stack.used(stack.final_norm))

    def _segment(self, hidden: Tensor, cos: Tensor, sin: Tensor, first: int, last: int) -> Tensor:
        for weights in self.fusion.layers(self.stack, first, last):
            hidden = self.decoder.layer(hidden, weights, (cos, sin))
        return hidden

    def head_weight(self) -> Tensor:
        """The output embedding [V, D]."""
        return self.stack.head_weight()


@torch.no_grad()
def teacher_hidden_states(stack: SourceStack, decoder: Decoder, tokens_BT: Tensor) -> Tensor:
    """Final hidden states [B, T, D1] of the unchanged source model."""
    hidden = functional.embedding(tokens_BT, stack.used(stack.embedding))
    positions = decoder.positions(hidden)
    for layer in range(stack.shape.num_hidden_layers):
        hidden = decoder.layer(hidden, stack.layer(layer), positions)
    return decoder.final_norm(hidden, stack.used(stack.final_norm))
