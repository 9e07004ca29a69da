"""Similarity maps with known properties."""

from __future__ import annotations

import numpy as np


def random_map(num_layers: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(size=(num_layers, num_layers))
    return (values + values.T) / 2


def by_distance(values: list[float]) -> np.ndarray:
    """A map with the given similarity at each distance, 0, 1, ..."""
    index = np.arange(len(values))
    return np.array(values)[np.abs(index[:, None] - index)]
