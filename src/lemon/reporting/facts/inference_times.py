"""The time of inference of models of some shapes, relative to the source's, from `lemon time`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.project import TIMES, Project
from lemon.errors import BadInput
from lemon.files.manifest import checked_file


@dataclass(frozen=True)
class InferenceTime:
    """Time a token, relative to the source's in the same round: medians and quartiles of rounds.

    Attributes:
        prompt_time_share: of reading a prompt of the preset's sequence length.
        generation_time_share: of generating after it.
    """

    prompt_time_share: float
    prompt_time_low: float
    prompt_time_high: float
    generation_time_share: float
    generation_time_low: float
    generation_time_high: float


def inference_times(project: Project, runs: Path) -> dict[LlamaShape, InferenceTime]:
    """The times of all shapes that are timed, from the file in the folder of runs.

    Raises:
        BadInput: it is missing, damaged, or lacks one of the shapes.
    """
    path = runs / TIMES
    if not path.is_file():
        raise BadInput(f"{path}: no such file; `lemon time --out {path}` writes it")
    lines = pd.read_csv(checked_file(path, path.with_suffix(".manifest.json")))

    def of(shape: LlamaShape) -> pd.DataFrame:
        sizes = shape.sizes()
        found = lines[(lines[list(sizes)] == pd.Series(sizes)).all(axis=1)].set_index("round")
        if found.empty:
            raise BadInput(
                f"{path}: has no time of {shape.num_hidden_layers} layers of hidden size "
                f"{shape.hidden_size}; `lemon time --out {path}` measures all shapes again"
            )
        return found[["prompt_seconds", "generation_seconds"]]

    reference = of(project.source_shape())

    def time_of(shape: LlamaShape) -> InferenceTime:
        quantiles = np.quantile(of(shape) / reference, [0.5, 0.25, 0.75], axis=0)
        return InferenceTime(*quantiles.round(6).T.ravel().tolist())

    return {shape: time_of(shape) for shape in project.timed_shapes()}
