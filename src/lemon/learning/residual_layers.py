"""The source's weights for the dimension operator: one matrix for each layer.

Every tensor of a layer has one axis on the residual stream. With that axis last, all nine are rows
of one matrix [R, D1] (o and down transposed, each gain one row), and one product applies B to all.

B = b (x) I_r acts on D1 / r blocks of r channels. The channels are stored in the order [r, D1 / r]
instead of [D1 / r, r], so that one product multiplies a weight by b without copying it. The order
of the residual stream does not change what the model computes, so teacher and student both use it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TYPES, Axis, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.learning.decoder import LayerWeights
from lemon.learning.source_weights import SourceWeights


class ResidualLayers(SourceWeights):
    """Per layer one [R, D1] matrix, its last axis in the order [r, D1 / r]."""

    def __init__(
        self,
        source: Checkpoint,
        *,
        dtype: torch.dtype,
        device: torch.device,
        radius: int,
        trains: bool = False,
    ) -> None:
        """Args:
        source, dtype, device, trains: as `SourceWeights`.
        radius: r, the radius of the hidden operator.
        """
        self.radius = radius
        super().__init__(source, dtype=dtype, device=device, trains=trains)

    def _read_layers(self) -> None:
        self.rows: dict[str, slice] = {}
        first = 0
        for type, (_, axes) in LAYER_TYPES.items():
            inner = [self.shape.axis_size(axis) for axis in axes if axis is not Axis.HIDDEN]
            self.rows[type] = slice(first, first + (inner[0] if inner else 1))
            first = self.rows[type].stop
        self.layers = nn.ParameterList(
            self._parameter(self._layer_matrix(layer, first))
            for layer in range(self.shape.num_hidden_layers)
        )

    def _layer_matrix(self, layer: int, num_rows: int) -> Tensor:
        matrix = self.final_norm.new_empty(num_rows, self.shape.hidden_size)
        for type, rows in self.rows.items():
            weight = self._read(layer_tensor_name(type, layer))
            matrix[rows] = weight.T if _writes(type) else weight
        return matrix

    def _read(self, name: str) -> Tensor:
        weight = super()._read(name)
        dim = self._source.specs[name].axes.index(Axis.HIDDEN)
        return (
            weight.unflatten(dim, (-1, self.radius)).transpose(dim, dim + 1).flatten(dim, dim + 1)
        )

    def held_layer(self, index: int) -> LayerWeights:
        """The stored weights of one source layer, each a view of the layer's matrix."""
        return as_layer({type: self.layers[index][rows] for type, rows in self.rows.items()})

    def named_weights(self) -> dict[str, Tensor]:
        """All tensors by Hugging Face name, with the residual stream in the source's order."""
        named = super().named_weights()
        for name, weight in named.items():
            dim = self._source.specs[name].axes.index(Axis.HIDDEN)
            blocks = weight.unflatten(dim, (self.radius, -1)).transpose(dim, dim + 1)
            named[name] = blocks.flatten(dim, dim + 1).contiguous()
        return named


def as_layer(rows: dict[str, Tensor]) -> LayerWeights:
    """A layer's weights in the Hugging Face layout, from rows [units, D]."""
    return {
        type: weight.T if _writes(type) else weight[0] if _is_gain(type) else weight
        for type, weight in rows.items()
    }


def _writes(type: str) -> bool:
    """Whether a type writes to the residual stream (its first axis): o and down."""
    axes = LAYER_TYPES[type][1]
    return len(axes) == 2 and axes[0] is Axis.HIDDEN


def _is_gain(type: str) -> bool:
    return len(LAYER_TYPES[type][1]) == 1
