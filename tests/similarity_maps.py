"""Similarity maps with known properties, and what is no such map."""

from __future__ import annotations

import numpy as np

NONSENSE = [
    (np.zeros((6, 7)), "square"),
    (np.zeros(9), "square"),
    (np.eye(2), "2 layers are too few"),
    (np.where(np.eye(7) > 0, np.nan, 0.5), "not finite"),
    (np.arange(49.0).reshape(7, 7), "not symmetric"),
]


def random_map(num_layers: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(size=(num_layers, num_layers))
    return (values + values.T) / 2


def by_distance(values: list[float]) -> np.ndarray:
    """A map with the given similarity at each distance, 0, 1, ..."""
    index = np.arange(len(values))
    return np.array(values)[np.abs(index[:, None] - index)]
