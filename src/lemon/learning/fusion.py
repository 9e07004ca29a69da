"""Computes a student's weights from the source's: mixes or selects layers, maps widths, or masks.

Each fusion is the paper's operators restricted to the ones that it trains. The student gets its
embedding, layers and final norm from the fusion and is independent of its kind.

Shapes: B sequences, T tokens, D hidden size, L1 and L2 layers of source and target, S layers of a
segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from lemon.architecture import FFN_TYPES, LAYER_TYPES
from lemon.decoder import LayerWeights
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense


class Fusion(nn.Module, ABC):
    """Maps the source's weights to the student's. The defaults keep the source's widths."""

    num_hidden_layers: int
    norm_eps: Tensor | None = None  # None is the model's own

    def begin_pass(self, draw: tuple[int, int] | None, *, at_target: bool = True) -> None:
        """Set the gates for the next pass; does nothing in a fusion without gates.

        They are sampled for `draw`, a (step, microbatch); None for deterministic gates, of which as
        many are open as the target has units (the exported model), or if not `at_target` as many
        as are currently expected to be open.
        """

    def embed(self, source: SourceWeights, tokens_BT: Tensor) -> Tensor:
        """The first hidden states [B, T, D]."""
        return source.embed(tokens_BT)

    @abstractmethod
    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The weights of layers first, ..., last - 1, without masked-out layers."""

    def final_norm(self, source: SourceWeights) -> Tensor:
        """The gain [D] of the last norm."""
        return source.used(source.final_norm)

    def to_head(self, hidden_BTD: Tensor) -> Tensor:
        """Map the student's last hidden states to the input width of the source's head."""
        return hidden_BTD

    @abstractmethod
    def operators(self) -> Operators:
        """The current operators."""

    def exported_weights(self, source: SourceWeights) -> Iterator[tuple[str, Tensor]]:
        """The tensors that the operators apply to, by their Hugging Face names.

        Processes that divide the source's weights go through them all together.
        """
        yield from source.named_weights()


def float32_master(matrix: Tensor, device: torch.device, *, trains: bool = True) -> nn.Parameter:
    """A copy of an operator as a parameter, cast to the compute format where it is used."""
    return nn.Parameter(matrix.to(device, torch.float32, copy=True), requires_grad=trains)


class DepthFusion(Fusion):
    """The layer operator as parameters: W_small[i] = sum_j gamma[i, j] W[j] for each type.

    Target layers whose FFNs are tied share one row of the parameters of gate, up and down, so its
    gradient is the sum of those of their rows.

    Attributes:
        gamma: rows that learn, [rows, L1] by type; L2 rows if none are shared.
        rows: by type the row of each target layer.
    """

    def __init__(
        self,
        start: Operators,
        device: torch.device,
        *,
        trains: bool = True,
        tied_ffn: Sequence[Sequence[int]] = (),
    ) -> None:
        """`start` are the initial operators; all nine types must have a gamma, which `trains`.

        `tied_ffn` are windows of target layers that stay tied, each one of `start.tied_ffn`.
        """
        super().__init__()
        self.start = start
        self.num_hidden_layers = start.target.num_hidden_layers
        depth = self.num_hidden_layers
        followers = {layer for window in tied_ffn for layer in window[1:]}
        own_row = {
            type: [type not in FFN_TYPES or layer not in followers for layer in range(depth)]
            for type in LAYER_TYPES
        }
        self.rows = {type: [n - 1 for n in accumulate(own)] for type, own in own_row.items()}
        self.gamma = nn.ParameterDict()
        for type, own in own_row.items():
            rows = start.gamma[type].dense()[[layer for layer in range(depth) if own[layer]]]
            self.gamma[type] = float32_master(rows, device, trains=trains)

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The fused weights of target layers first, ..., last - 1.

        One product for each tensor covers the whole segment, so the stack is read once for S
        layers. Reading bounds the cost: with an inner dimension of L1 the product is memory-bound.
        Of a stack that processes divide, each fuses its share, and the fused tensors are gathered.
        """
        assert isinstance(source, SourceStack)
        fused = {}
        for type, tensor in source.shape.layer_tensors.items():
            weights = source.layers[type].to(source.dtype)
            used = self.rows[tensor.follows][first:last]
            rows = self.gamma[tensor.follows][used[0] : used[-1] + 1].to(weights.dtype)
            # Indexing would make the gradient of each layer a tensor of the whole segment.
            segment = (rows @ weights.flatten(1)).unbind(0)
            distinct = [source.fused(type, row) for row in segment]
            fused[type] = [distinct[row - used[0]] for row in used]
        return [{type: fused[type][i] for type in fused} for i in range(last - first)]

    def operators(self) -> Operators:
        """The current operators."""
        if not any(gamma.requires_grad for gamma in self.gamma.values()):
            return self.start
        gamma = {
            type: Dense(value.detach().cpu()[self.rows[type]]) for type, value in self.gamma.items()
        }
        return replace(self.start, gamma=gamma)


class LayerSelection(Fusion):
    """One source layer for each target layer; it has no parameters."""

    def __init__(self, start: Operators, kept: Sequence[int]) -> None:
        """`start` is the selection as operators, `kept` the source layer of each target layer."""
        super().__init__()
        self.start = start
        self.kept = list(kept)
        self.num_hidden_layers = len(self.kept)

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The weights of the selected layers in the compute format."""
        assert isinstance(source, SourceLayers)
        return [source.layer(layer) for layer in self.kept[first:last]]

    def operators(self) -> Operators:
        """The selection as operators."""
        return self.start
