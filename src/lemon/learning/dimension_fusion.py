"""The dimension operator as parameters: W_small^t[j] = Row_j W^t[j] Col_j^T for each layer.

The student's head is E B^T, with E the source's head. The hidden states are mapped to the source's
width instead, (E B^T) x = E (B^T x), which avoids a [V, D2] matrix and its gradient.

Shapes: B sequences, T tokens, D1 and D2 hidden sizes, r channels of a block.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TENSORS, Axis
from lemon.decoder import LayerWeights
from lemon.errors import BadInput
from lemon.learning.fusion import Fusion, float32_master
from lemon.learning.residual_layers import ResidualLayers, as_layer
from lemon.learning.source_weights import SourceWeights
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.operators.receptive_field import AxisMap
from lemon.operators.rotary import both_halves, one_half
from lemon.radii import split_heads


class DimensionFusion(Fusion):
    """B for the whole model, A_attn and A_ffn for each layer.

    Operators that the start lacks are the identity and do not train.
    """

    def __init__(
        self, start: Operators, device: torch.device, *, tied: bool, trains: bool = True
    ) -> None:
        """`start` are the initial operators, without gamma.

        If `tied`, the two rotary halves of a head have one map, where the radius is below the head
        size. If it `trains`, the operators take gradients.

        Raises:
            BadInput: the halves are tied but differ in the start, or operators that train would
                split heads whose channels have gains.
        """
        super().__init__()
        self.start = start
        self.trains = trains
        self.num_hidden_layers = start.target.num_hidden_layers
        shape, radius = start.source, start.radii.attention
        self.tied = tied and radius < shape.head_dim
        self._halves = 2 if self.tied else 1
        self._blocks = max(1, shape.head_dim // (self._halves * radius))

        def master(matrix: Tensor) -> nn.Parameter:
            return float32_master(matrix, device, trains=trains)

        if trains and start.attn and (fault := split_heads(shape, radius)):
            raise BadInput(f"an attention operator that learns {fault}")
        heads = {str(j): factor.dense() for j, factor in start.attn.items()}
        if self.tied:
            heads = {j: one_half(matrix, self._blocks) for j, matrix in heads.items()}
        self.hidden = None if start.hidden is None else master(start.hidden.dense())
        self.attn = nn.ParameterDict({j: master(matrix) for j, matrix in heads.items()})
        self.ffn = nn.ParameterDict({str(j): master(f.dense()) for j, f in start.ffn.items()})

    def embed(self, source: SourceWeights, tokens_BT: Tensor) -> Tensor:
        """The first hidden states [B, T, D2]."""
        return self._to_small(source.embed(tokens_BT))

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The fused weights of layers first, ..., last - 1."""
        assert isinstance(source, ResidualLayers)
        return [self._layer(source, layer) for layer in range(first, last)]

    def final_norm(self, source: SourceWeights) -> Tensor:
        """The gain [D2] of the last norm."""
        return self._to_small(source.used(source.final_norm))

    def to_head(self, hidden_BTD: Tensor) -> Tensor:
        """The hidden states [.., D2] mapped to [.., D1], for the source's head."""
        if self.hidden is None:
            return hidden_BTD
        factor = self.hidden.to(hidden_BTD.dtype)
        return (hidden_BTD.unflatten(-1, (-1, factor.shape[0])) @ factor).flatten(-2)

    def operators(self) -> Operators:
        """The current operators, in the form of the operators file."""
        if not self.trains:
            return self.start
        hidden = None if self.hidden is None else Dense(self.hidden.detach().cpu())
        heads = {int(j): factor.detach().cpu() for j, factor in self.attn.items()}
        if self.tied:
            heads = {j: both_halves(half, self._blocks) for j, half in heads.items()}
        attn = {j: Dense(matrix) for j, matrix in heads.items()}
        ffn = {int(j): Dense(factor.detach().cpu()) for j, factor in self.ffn.items()}
        return replace(self.start, hidden=hidden, attn=attn, ffn=ffn)

    def _to_small(self, rows: Tensor) -> Tensor:
        """Apply B to the last axis, [.., D1] to [.., D2], both channel by channel."""
        if self.hidden is None:
            return rows
        factor = self.hidden.to(rows.dtype)
        blocks = rows.reshape(-1, factor.shape[1]) @ factor.T
        return blocks.reshape(*rows.shape[:-1], -1)

    def _layer(self, source: ResidualLayers, layer: int) -> LayerWeights:
        small = self._to_small(source.used(source.layers[layer]))
        # Split, not sliced: the gradient of each slice would be a full-size matrix.
        sizes = [rows.stop - rows.start for rows in source.rows.values()]
        parts = dict(zip(source.rows, small.split(sizes), strict=True))
        others = {type: source.used(weight) for type, weight in source.other(layer).items()}
        for weights in (parts, others):
            for type, weight in weights.items():
                inner = self._inner_map(LAYER_TENSORS[type].inner_axis, layer)
                if inner is not None:
                    weights[type] = inner.rows(weight)
        return as_layer(parts) | others

    def _inner_map(self, axis: Axis | None, layer: int) -> AxisMap | None:
        """The operator on the other axis of a layer's weights; None for the identity."""
        key, radii = str(layer), self.start.radii
        if axis is Axis.FFN and key in self.ffn:
            return AxisMap(Dense(self.ffn[key]), radii.ffn)
        if axis in (Axis.QUERY, Axis.KEY_VALUE) and key in self.attn:
            group = self.start.source.group_size if axis is Axis.QUERY else 1
            copies = group * self._halves  # a tied factor is used for both halves of a head
            return AxisMap(Dense(self.attn[key]), radii.attention, copies, self._blocks)
        return None
