"""The masked student: the source with the gates folded into its weights.

A gate multiplies the output of its unit; the gates of an axis are a diagonal operator. Folded into
the weights (in brackets: where Sheared-LLaMA applies the gate):

    v     rows and bias times the head gate                     [head outputs]
    up    rows times the FFN gate                               [FFN product]
    o, down   rows times layer gate and hidden gate             [block outputs]
    embedding, norm gains   times the hidden gate               [embedding and norm outputs]

A norm takes the root mean square over the n open hidden coordinates of D. The closed ones are 0, so
the model's mean over D gives the same result with gains times sqrt(n / D) and eps times n / D:

    1 / sqrt(sum x^2 / n + eps) = sqrt(n / D) / sqrt(sum x^2 / D + eps n / D)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lemon.architecture import LAYER_TENSORS, NORM_TYPES, layer_tensor_name
from lemon.decoder import LayerWeights
from lemon.learning.fusion import Fusion
from lemon.learning.masks import Gates, Masks
from lemon.learning.source_weights import SourceLayers, SourceWeights
from lemon.methods.shear import selection_operators
from lemon.operators.algebra import Operators
from lemon.training.processes import ALONE, Processes


class MaskedFusion(Fusion):
    """All layers of the source, each unit times its gate; layers with gate 0 are skipped."""

    def __init__(self, masks: Masks, norm_eps: Tensor, processes: Processes = ALONE) -> None:
        """`norm_eps` is the eps of the source's norms, a scalar.

        `processes` make their passes together, each with gates of its own.
        """
        super().__init__()
        self._processes = processes
        self.masks = masks
        self.opens_kept_gates = False
        self.num_hidden_layers = masks.source.num_hidden_layers
        self._model_eps = norm_eps
        self._head_dim = masks.source.head_dim
        self.begin_pass(None)

    def begin_pass(self, draw: tuple[int, int] | None, *, at_target: bool = True) -> None:
        """Set the gates for the next pass: sampled from `draw`, or deterministic if None.

        The deterministic gates of the exported model keep their soft values, unless
        `opens_kept_gates` is set: then those of the kept units are 1.
        """
        if draw is None:
            self._gates = self.masks.deterministic(at_target=at_target)
            if at_target and self.opens_kept_gates:
                self._gates = {name: gate.sign() for name, gate in self._gates.items()}
        else:
            self._gates = self.masks.sampled(*draw)
        self._norm_scale: Tensor | None = None
        self._layer_gates: list[float] | None = None  # one read: each waits for the GPU
        self._open: list[float] | None = None  # in how many processes
        if "layer" in self._gates:
            gates = self._gates["layer"].detach()
            is_open = (gates != 0).to(gates)
            self._processes.sum(is_open)
            self._layer_gates, self._open = torch.stack([gates, is_open]).tolist()
        hidden = self._gates.get("hidden")
        if hidden is not None:
            open_share = (hidden.detach() > 0).float().mean()
            self.norm_eps = self._model_eps * open_share
            self._norm_scale = hidden * open_share.sqrt()

    def embed(self, source: SourceWeights, tokens_BT: Tensor) -> Tensor:
        """The first hidden states [B, T, D]; coordinates with closed gates are zero."""
        hidden = super().embed(source, tokens_BT)
        gate = self._gates.get("hidden")
        return hidden if gate is None else hidden * gate.to(hidden.dtype)

    def layers(self, source: SourceWeights, first: int, last: int) -> list[LayerWeights]:
        """The masked weights of source layers first, ..., last - 1, without those with gate 0.

        A layer that is open in another process is gathered by all, so a closed one is then
        computed: it adds 0 times its output.
        """
        assert isinstance(source, SourceLayers)
        is_on = [layer for layer in range(first, last) if self._open is None or self._open[layer]]
        return [self._layer(source, layer) for layer in is_on]

    def final_norm(self, source: SourceWeights) -> Tensor:
        """The gain [D] of the last norm."""
        if self._norm_scale is None:
            return super().final_norm(source)
        return source.used(source.held(source.final_norm) * self._norm_scale)

    def operators(self) -> Operators:
        """The operators that select the kept units."""
        masks = self.masks
        return selection_operators(masks.source, masks.target, masks.selection())

    def exported_weights(self, source: SourceWeights) -> Iterator[tuple[str, Tensor]]:
        """All tensors of the source with the deterministic gates folded in.

        The operators then select the small model's entries, so its norms average over the open
        coordinates without rescaling. A tied head carries the hidden gate through the embedding,
        so the last norm must not carry it too.
        """
        self.begin_pass(None)
        hidden = self._gates.get("hidden")
        scales = {layer: self._row_scales(layer) for layer in range(self.num_hidden_layers)}
        folds = {
            layer_tensor_name(type, layer): scale
            for type, tensor in self.masks.source.layer_tensors.items()
            for layer in scales
            if (scale := scales[layer].get(tensor.follows)) is not None
        }
        with torch.no_grad():
            for name, weight in source.named_weights():
                if name in folds:
                    weight = _rows(weight, folds[name])
                elif hidden is not None and self._carries_hidden_gate(name, source):
                    weight = weight * hidden
                yield name, weight

    def _carries_hidden_gate(self, name: str, source: SourceWeights) -> bool:
        if name == "model.norm.weight":
            return source.head is not None
        return name == "model.embed_tokens.weight" or "layernorm" in name

    def _layer(self, source: SourceLayers, layer: int) -> LayerWeights:
        weights = source.held_layer(layer)
        # In the order of the scales: a gate's gradient is summed in it, and rounds accordingly.
        for matrix, scale in self._row_scales(layer).items():
            for type in [type for type in weights if LAYER_TENSORS[type].follows == matrix]:
                weights[type] = _rows(weights[type], scale)
        if self._norm_scale is not None:
            weights |= {type: weights[type] * self._norm_scale for type in NORM_TYPES}
        return {type: source.used(weight) for type, weight in weights.items()}

    def _row_scales(self, layer: int) -> dict[str, Tensor]:
        """By type, the factors of a layer's rows and biases; a scalar applies to all of them."""
        gates: Gates = self._gates
        written = gates.get("hidden")
        # A gate of exactly 1 is skipped: it changes nothing, and being clipped has no gradient.
        if self._layer_gates is not None and self._layer_gates[layer] != 1.0:
            gate = gates["layer"][layer]
            written = gate if written is None else written * gate
        scales: dict[str, Tensor] = {}
        if written is not None:
            scales |= {"o": written, "down": written}
        if "head" in gates:
            scales["v"] = gates["head"][layer].repeat_interleave(self._head_dim)
        if "ffn" in gates:
            scales["up"] = gates["ffn"][layer]
        return scales


def _rows(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * (scale[:, None] if scale.dim() and weight.dim() > 1 else scale)
