"""The fused student, whose weights are a linear function of the source's, and its teacher.

Both map tokens to the hidden states before the head.

Shapes: B sequences, T tokens, D1 hidden size of the source, S layers of a segment, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lemon.decoder import Decoder
from lemon.learning.fusion import Fusion
from lemon.learning.source_weights import SourceWeights


class FusedStudent(nn.Module):
    """The small model, computed from the source in each pass.

    A segment of layers is fused and run inside one checkpointed block, so that memory holds the
    weights and activations of one segment instead of the whole student.
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
        """`decoder` has the student's widths; `layers_per_segment` is S.

        If `recompute`, each segment runs again in the backward pass instead of being stored.
        """
        super().__init__()
        self.source = source
        self.fusion = fusion
        self.decoder = decoder
        self.layers_per_segment = layers_per_segment
        self.recompute = recompute

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D1], after the last norm."""
        (hidden,) = deque(self.states(tokens_BT), maxlen=1)
        return self.normed(hidden)

    def states(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        """The hidden states after each segment, [B, T, D], D the student's hidden size."""
        hidden = self.fusion.embed(self.source, tokens_BT)
        positions = self.decoder.positions(hidden)
        depth = self.fusion.num_hidden_layers
        for first in range(0, depth, self.layers_per_segment):
            last = min(first + self.layers_per_segment, depth)
            arguments = (hidden, *positions, first, last)
            if self.recompute and torch.is_grad_enabled():
                hidden = checkpoint(
                    self._segment, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden = self._segment(*arguments)
            yield hidden

    def normed(self, hidden_BTD: Tensor) -> Tensor:
        """The last of the hidden states after the last norm, as wide as the head, [B, T, D1]."""
        gain = self.fusion.final_norm(self.source)
        hidden = self.decoder.final_norm(hidden_BTD, gain, self.fusion.norm_eps)
        return self.fusion.to_head(hidden)

    def _segment(self, hidden: Tensor, cos: Tensor, sin: Tensor, first: int, last: int) -> Tensor:
        for weights in self.fusion.layers(self.source, first, last):
            hidden = self.decoder.layer(hidden, weights, (cos, sin), self.fusion.norm_eps)
        return hidden

    def head_weight(self) -> Tensor:
        """The source's output embedding [V, D1]."""
        return self.source.head_weight()


class Teacher(nn.Module):
    """An unchanged large model whose predictions are the student's targets."""

    def __init__(self, weights: SourceWeights, decoder: Decoder) -> None:
        """The student may share `weights`; `decoder` has the widths of this model."""
        super().__init__()
        self.weights = weights
        self.decoder = decoder

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D1], after the last norm."""
        (hidden,) = deque(self.states(tokens_BT), maxlen=1)
        return self.normed(hidden)

    @torch.no_grad()
    def states(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        """The hidden states after each layer, [B, T, D1]."""
        hidden = self.weights.embed(tokens_BT)
        positions = self.decoder.positions(hidden)
        for layer in range(self.weights.shape.num_hidden_layers):
            hidden = self.decoder.layer(hidden, self.weights.layer(layer), positions)
            yield hidden

    @torch.no_grad()
    def normed(self, hidden_BTD: Tensor) -> Tensor:
        """The last of the hidden states after the last norm."""
        return self.decoder.final_norm(hidden_BTD, self.weights.used(self.weights.final_norm))

    def head_weight(self) -> Tensor:
        """The output embedding [V, D1]."""
        return self.weights.head_weight()
