"""Layer similarity by its formulas, in float64, and models with given weights to measure it on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from roundoff import FLOAT32, sum_off

from lemon.architecture import LlamaShape, layer_tensor_name, tensor_specs
from lemon.checkpoint import INDEX, Checkpoint
from lemon.files.tensor_file import write_tensor_file
from lemon.similarity.gram import CHUNK_ENTRIES

NARROW = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 16}


def write_layers(
    folder: Path, layers: np.ndarray, *, type: str = "up", shards: int = 1, format: str = "F32"
) -> Checkpoint:
    """A model whose matrices of one FFN type are `layers`, [L, n, p]; all others are ones."""
    num_layers, width, units = layers.shape
    shape = LlamaShape(
        num_hidden_layers=num_layers, hidden_size=width, intermediate_size=units, **NARROW
    )
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, **shape.sizes()}
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


def cka_off(layers: np.ndarray, estimator: str) -> np.ndarray:
    """How far CKA by way of float32 Gram matrices may be from the exact one, [L, L].

    Both estimators are HSIC(i, j) = <K_i, slope(K_j)>, so errors of the entries of K_i, which are
    independent, come to the root of the sum of their squares times those of the slope. There are
    two of each entry off the diagonal, from one product.

    Args:
        layers: [L, n, p], before they are centred and rounded to float32.
        estimator: `plain` or `debiased`.
    """
    layers = np.asarray(layers, dtype=float)
    n, p = layers.shape[1:]
    mean = layers.mean(1, keepdims=True)
    size = np.abs(layers - mean)
    grams = (layers - mean) @ (layers - mean).swapaxes(1, 2)
    slopes = grams.copy()
    if estimator == "debiased":
        diagonals = grams.diagonal(axis1=1, axis2=2)
        traces = diagonals.sum(1, keepdims=True)
        slopes[:, range(n), range(n)] = traces / ((n - 1) * (n - 2)) - 2 * diagonals / (n - 2)
    # A centred weight is rounded as a weight, with the mean and after the difference.
    weights_off = FLOAT32 * (np.abs(layers) + np.abs(mean) + size)
    grams_off = sum_off(p) * size @ size.swapaxes(1, 2)
    grams_off += weights_off @ size.swapaxes(1, 2) + size @ weights_off.swapaxes(1, 2)

    def products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.einsum("iab,jab->ij", first, second)

    hsic = products(grams, slopes)
    one_off = np.sqrt(2 * products(grams_off**2, slopes**2))
    sums_off = sum_off(min(n * n, CHUNK_ENTRIES)) * products(np.abs(grams), np.abs(grams))
    hsic_off = one_off + one_off.T + sums_off
    norms = np.sqrt(np.outer(hsic.diagonal(), hsic.diagonal()))
    of_norm = hsic_off.diagonal() / hsic.diagonal() / 2
    return hsic_off / norms + np.abs(hsic / norms) * (of_norm[:, None] + of_norm)
