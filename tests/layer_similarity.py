"""Layer similarity by its formulas, in float64, and models with given weights to measure it on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lemon.architecture import LlamaShape, layer_tensor_name, tensor_specs
from lemon.checkpoint import INDEX, Checkpoint
from lemon.tensor_file import write_tensor_file

NARROW = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 16}


def write_layers(
    folder: Path, layers: np.ndarray, *, type: str = "up", shards: int = 1, format: str = "F32"
) -> Checkpoint:
    """A model whose matrices of one FFN type are `layers`, [L, n, p]; all others are ones."""
    num_layers, width, units = layers.shape
    shape = LlamaShape(
        num_hidden_layers=num_layers, hidden_size=width, intermediate_size=units, **NARROW
    )
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, **asdict(shape)}
    (folder / "config.json").write_text(json.dumps(config))
    given_weights = {
        layer_tensor_name(type, layer): torch.tensor(x if type == "down" else x.T)
        for layer, x in enumerate(layers)
    }
    specs, weight_map = list(tensor_specs(shape)), {}
    for shard in range(shards):
        name = f"part-{shard}.safetensors" if shards > 1 else "model.safetensors"
        members = specs[shard::shards]
        weight_map |= {spec.name: name for spec in members}
        write_tensor_file(
            folder / name,
            {spec.name: spec.shape for spec in members},
            ((s.name, given_weights.get(s.name, torch.ones(s.shape))) for s in members),
            format=format,
            metadata={"format": "pt"},
        )
    if shards > 1:
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return Checkpoint(folder)


def plain(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(x.T @ y) ** 2 / norms


def unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, up to the common factor."""
    n, one = len(x), np.ones(len(x))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    rows = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return np.trace(k @ l) + rows - 2 / (n - 2) * (one @ k @ l @ one)


def debiased(x: np.ndarray, y: np.ndarray) -> float:
    return unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))
