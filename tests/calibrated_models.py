"""The six-layer model on which calibrated methods are tested, and its numbers in transformers."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.methods.calibration import Calibration
from lemon.methods.context import BuildContext
from lemon.operators.fuse import fuse_tensors

METHODS = ("shortgpt", "sleb", "laco", "mka", "come", "come-posterior", "come-sum", "window-drop")

LAYERS, ROWS = 6, 6


def context(source: Checkpoint, calibration: Calibration, depth: int) -> BuildContext:
    return BuildContext(source, source.shape.with_depth(depth), calibration=calibration)


def states(model: LlamaForCausalLM, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream before the first layer and after each, before the final norm."""
    found = []
    handles = [
        layer.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for layer in model.model.layers
    ]
    handles.append(model.model.norm.register_forward_pre_hook(lambda _, g: found.append(g[0])))
    with torch.no_grad():
        model(tokens[:, :-1])
    for handle in handles:
        handle.remove()
    return found


def without(model: LlamaForCausalLM, dropped: set[int]) -> LlamaForCausalLM:
    small = deepcopy(model)
    layers = [layer for n, layer in enumerate(small.model.layers) if n not in dropped]
    small.model.layers = torch.nn.ModuleList(layers)
    return small


def loss(model: LlamaForCausalLM, tokens: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(tokens[:, :-1], use_cache=False).logits
    return float(cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))


def load_fused(model: LlamaForCausalLM, source: Checkpoint, operators) -> LlamaForCausalLM:
    """The model that operators make, in transformers."""
    small = without(model, set(range(operators.target.num_hidden_layers, LAYERS)))
    small.load_state_dict(dict(fuse_tensors(source, operators)), strict=False)
    return small
