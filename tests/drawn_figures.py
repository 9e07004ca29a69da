"""Runs folders with made-up similarity maps and layer operators, as figures are drawn from."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from lemon.architecture import LAYER_TYPES
from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.project import Project
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.operators.file import save_operators
from lemon.radii import Radii
from lemon.similarity.cka import write_map


def falling_map(num_layers: int, reach: float = 8.0, level: float = 0.0) -> np.ndarray:
    """Similarity that falls with distance from 1 to `level`, a little differently in each pair."""
    index = np.arange(num_layers)
    apart = np.abs(index[:, None] - index)
    ripple = 0.01 * np.sin(index[:, None] * index + index[:, None] + index)
    values = level + (1 - level) * np.exp(-apart / reach) + ripple * (apart > 0)
    return (values + values.T) / 2


def write_maps(project: Project, figure: str, runs: Path, of: dict[str, np.ndarray]) -> None:
    """For every map of a figure that of its run."""
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    for map in spec.maps:
        write_map(of[map.run], runs / map.path, settings={}, started=time.monotonic())


def write_gamma(project: Project, runs: Path, run: str, gamma: np.ndarray) -> None:
    """A run's operators: the same [L2, L1] gamma for every type."""
    values = torch.from_numpy(np.asarray(gamma, dtype=np.float32))
    operators = Operators(
        project.source_shape(),
        project.run(run).target_shape,
        Radii(),
        gamma=dict.fromkeys(LAYER_TYPES, Dense(values)),
    )
    save_operators(
        runs / run / "operators.safetensors", operators, source_digest="0" * 64, method="cut"
    )
