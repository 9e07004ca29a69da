"""Minitron's widths against activations in transformers."""

from __future__ import annotations

import torch
from calibrated_models import LAYERS

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.methods import minitron
from lemon.methods.context import BuildContext


def test_minitron_keeps_the_largest_activations(source, calibration, model):
    shape = source.shape
    target = LlamaShape(
        **{
            **vars(shape),
            "hidden_size": 24,
            "intermediate_size": 24,
            "num_attention_heads": shape.group_size,
            "num_key_value_heads": 1,
        }
    )
    inputs: dict[str, list[torch.Tensor]] = {"q": [], "gate": [], "o": [], "down": []}
    for layer in model.model.layers:
        for type, kept in inputs.items():
            layer.get_submodule(LAYER_TYPES[type][0]).register_forward_pre_hook(
                lambda _, given, kept=kept: kept.append(given[0].double())
            )
    with torch.no_grad():
        model(calibration.tokens_NT1[:, :-1])
    sizes = {
        type: [layer.abs().mean(1).pow(2).sum(0).sqrt() for layer in layers[:LAYERS]]
        for type, layers in inputs.items()
    }
    operators = minitron.build(BuildContext(source, target, calibration=calibration))
    stream = sum(sizes["q"]) + sum(sizes["gate"])
    assert operators.hidden.chosen.tolist() == stream.topk(24).indices.sort().values.tolist()
    for layer in range(LAYERS):
        neurons = sizes["down"][layer].topk(24).indices.sort().values
        assert operators.ffn[layer].chosen.tolist() == neurons.tolist()
        groups = sizes["o"][layer].view(shape.num_key_value_heads, -1).pow(2).sum(1)
        first = int(groups.argmax()) * shape.head_dim
        assert operators.attn[layer].chosen.tolist() == [*range(first, first + shape.head_dim)]
