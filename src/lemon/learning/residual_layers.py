"""The source's weights for the dimension operator: one matrix for each layer.

Each of the nine types has one axis on the residual stream. With that axis last, all are rows of one
matrix [R, D1] (o and down transposed, each gain one row), and one product applies B to all. Tensors
without such an axis, as the biases of q, k and v, stay as they are.

B = b (x) I_r acts on D1 / r blocks of r channels. The channels are stored in the order [r, D1 / r]
instead of [D1 / r, r], so that one product multiplies a weight by b without copying it. The order
of the residual stream does not change what the model computes, so teacher and student both use it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TENSORS, Axis, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.decoder import LayerWeights
from lemon.learning.source_weights import SourceWeights
from lemon.training.processes import ALONE, Processes


class ResidualLayers(SourceWeights):
    """Per layer one [R, D1] matrix, its last axis in the order [r, D1 / r], and what it lacks.

    Attributes:
        rows: the rows of each tensor in the matrix.
        layers: the matrices.
        others: of each layer, the tensors without an axis on the residual stream.
    """

    def __init__(
        self,
        source: Checkpoint,
        *,
        dtype: torch.dtype,
        device: torch.device,
        radius: int,
        trains: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        """`radius` is r, that of the hidden operator; the rest is as for `SourceWeights`."""
        self.radius = radius
        super().__init__(source, dtype=dtype, device=device, trains=trains, processes=processes)

    def _read_layers(self) -> None:
        self.rows: dict[str, slice] = {}
        first = 0
        for type, tensor in self.shape.layer_tensors.items():
            if Axis.HIDDEN in tensor.axes:
                inner = tensor.inner_axis
                last = first + (self.shape.axis_size(inner) if inner else 1)
                self.rows[type], first = slice(first, last), last
        self.layers, self.others = nn.ParameterList(), nn.ModuleList()
        for layer in range(self.shape.num_hidden_layers):
            matrix = self.final_norm.new_empty(first, self.shape.hidden_size)
            for type, rows in self.rows.items():
                weight = self._read(layer_tensor_name(type, layer))
                matrix[rows] = weight.T if _writes(type) else weight
            self.layers.append(self._parameter(matrix))
            others = {
                type: self._parameter(self._read(layer_tensor_name(type, layer)))
                for type in self.shape.layer_tensors
                if type not in self.rows
            }
            self.others.append(nn.ParameterDict(others))

    def _read(self, name: str) -> Tensor:
        return self._transposed(name, super()._read(name), (-1, self.radius))

    def held_layer(self, index: int) -> LayerWeights:
        """The stored weights of one source layer, each a view of the layer's matrix."""
        matrix = self.held(self.layers[index])
        others = {type: self.held(weight) for type, weight in self.other(index).items()}
        return as_layer({type: matrix[rows] for type, rows in self.rows.items()}) | others

    def other(self, index: int) -> LayerWeights:
        """The parameters of one source layer without an axis on the residual stream."""
        others = self.others[index]
        assert isinstance(others, nn.ParameterDict)
        return dict(others.items())

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by Hugging Face name, with the residual stream in the source's order."""
        for name, weight in super().named_weights():
            yield name, self._transposed(name, weight, (self.radius, -1)).contiguous()

    def _transposed(self, name: str, weight: Tensor, view: tuple[int, int]) -> Tensor:
        """A weight whose residual axis, seen as a matrix of this shape, is transposed, if any."""
        axes = self._source.specs[name].axes
        if Axis.HIDDEN not in axes:
            return weight
        dim = axes.index(Axis.HIDDEN)
        return weight.unflatten(dim, view).transpose(dim, dim + 1).flatten(dim, dim + 1)


def as_layer(rows: dict[str, Tensor]) -> LayerWeights:
    """A layer's weights in the Hugging Face layout, from rows [units, D]."""
    return {
        type: weight.T if _writes(type) else weight[0] if _is_gain(type) else weight
        for type, weight in rows.items()
    }


def _writes(type: str) -> bool:
    """Whether a type writes to the residual stream (its first axis): o and down."""
    axes = LAYER_TENSORS[type].axes
    return len(axes) == 2 and axes[0] is Axis.HIDDEN


def _is_gain(type: str) -> bool:
    return len(LAYER_TENSORS[type].axes) == 1
