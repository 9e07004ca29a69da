"""The fused student: a model whose weights are a linear image of the source's.

Shapes: B sequences, T tokens, D1 hidden size of the source, S layers of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lemon.learning.decoder import Decoder
from lemon.learning.fusion import Fusion
from lemon.learning.source_weights import SourceWeights


class FusedStudent(nn.Module):
    """The small model, built from the source at each pass.

    A segment of layers is fused and run inside one checkpointed block, so that memory holds one
    segment's weights and activations, and not the whole student's.
    """

    def __init__(
        self,
        source: SourceWeights,
        fusion: Fusion,
        decoder: Decoder,
        *,
        layers_per_segment: int,
        recompute: bool,
    ) -> None:
        """Args:
        source: the weights that are fused.
        fusion: how.
        decoder: the computation, at the target's widths.
        layers_per_segment: S, layers fused together.
        recompute: rebuild a segment in the backward pass instead of keeping it.
        """
        super().__init__()
        self.source = source
        self.fusion = fusion
        self.decoder = decoder
        self.layers_per_segment = layers_per_segment
        self.recompute = recompute

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D1], after the last norm, as the source's head reads them."""
        hidden = self.fusion.embed(self.source, tokens_BT)
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
        gain = self.fusion.final_norm(self.source)
        hidden = self.decoder.final_norm(hidden, gain, self.fusion.norm_eps)
        return self.fusion.to_head(hidden)

    def _segment(self, hidden: Tensor, cos: Tensor, sin: Tensor, first: int, last: int) -> Tensor:
        for weights in self.fusion.layers(self.source, first, last):
            hidden = self.decoder.layer(hidden, weights, (cos, sin), self.fusion.norm_eps)
        return hidden

    def head_weight(self) -> Tensor:
        """The output embedding [V, D1]: the source's."""
        return self.source.head_weight()


@torch.no_grad()
def teacher_hidden_states(source: SourceWeights, decoder: Decoder, tokens_BT: Tensor) -> Tensor:
    """Final hidden states [B, T, D1] of the unchanged source model."""
    hidden = source.embed(tokens_BT)
    positions = decoder.positions(hidden)
    for layer in range(source.shape.num_hidden_layers):
        hidden = decoder.layer(hidden, source.layer(layer), positions)
    return decoder.final_norm(hidden, source.used(source.final_norm))


@dataclass(frozen=True)
class Teacher:
    """The unchanged source model, whose predictions the student learns."""

    weights: SourceWeights
    decoder: Decoder

    def hidden_states(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D1]."""
        return teacher_hidden_states(self.weights, self.decoder, tokens_BT)

    def head_weight(self) -> Tensor:
        """The output embedding [V, D1]."""
        return self.weights.head_weight()
