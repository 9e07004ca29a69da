"""The learned layer operators and their starts, in tidy form.

gamma.<type> [L2, L1]: row = target layer, column = source layer; paper, equation 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lemon.architecture import LAYER_TYPES
from lemon.configuration.paper import COMPONENTS, FigureSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.operators.file import load_operators
from lemon.provenance import file_digest
from lemon.reporting.facts.departures import figure_departures
from lemon.reporting.facts.figure import FigureFacts
from lemon.reporting.facts.setup import setup_of

COLUMNS = ["panel", "label", "run", "component", "target", "source", "gamma", "start"]


@dataclass(frozen=True)
class LayerOperatorFacts(FigureFacts):
    """A figure of layer operators; `frame` has one line for each entry of gamma."""

    spec: FigureSpec


def layer_operator_facts(project: Project, figure: str, runs: Path) -> LayerOperatorFacts:
    """Gather a figure of layer operators.

    Args:
        project: the preset.
        figure: its name in `paper.yaml`.
        runs: the folder of the runs' folders.

    Raises:
        BadInput: a run's operators, or those of its start, are missing or damaged.
    """
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    shown = [project.run(run) for run in spec.runs]
    frame = operator_lines(project, spec, runs)
    read = [*spec.runs, *(run.start_run.id for run in shown if run.start_run)]
    files = [f"{run}/operators.safetensors" for run in dict.fromkeys(read)]
    return LayerOperatorFacts(
        name=figure,
        spec=spec,
        setup=setup_of(project),
        runs=shown,
        frame=frame,
        departures=figure_departures(project, spec),
        inputs={file: file_digest(runs / file) for file in files},
    )


def operator_lines(project: Project, spec: FigureSpec, runs: Path) -> pd.DataFrame:
    """The gamma of a figure, columns `COLUMNS`: one line for each entry, with its start.

    `panel` counts from 0. A panel of `mha` or `ffn` holds the mean over its matrix types.

    Raises:
        BadInput: as `layer_operator_facts`, or a run has no start with operators.
    """
    parts = []
    for number, panel in enumerate(spec.panels):
        learned = run_gamma(runs, panel.run, panel.component)
        start = project.run(panel.run).start_run
        if start is None:
            raise BadInput(f"runs.tsv: no run has the operators that {panel.run} starts from")
        initial = run_gamma(runs, start.id, panel.component)
        target, source = np.indices(learned.shape)
        parts.append(
            pd.DataFrame(
                {
                    "panel": number,
                    "label": panel.label,
                    "run": panel.run,
                    "component": panel.component,
                    "target": target.ravel(),
                    "source": source.ravel(),
                    "gamma": learned.ravel().round(6),
                    "start": initial.ravel().round(6),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def run_gamma(runs: Path, run: str, component: str) -> np.ndarray:
    """The gamma of a run, [L2, L1] float64; for `mha` and `ffn` the mean over their types.

    Raises:
        BadInput: the run has no operators, or they are damaged.
    """
    operators, _ = load_operators(runs / run / "operators.safetensors")
    types = COMPONENTS.get(component, (component,))
    return np.mean([_gamma(operators, type) for type in types], axis=0)


def _gamma(operators: Operators, type: str) -> np.ndarray:
    if type in operators.gamma:
        return operators.gamma[type].dense().double().numpy()
    return np.eye(operators.source.num_hidden_layers)  # absent means identity


def gamma_of(frame: pd.DataFrame, panel: int, column: str = "gamma") -> np.ndarray:
    """The gamma of a panel, or its `start`, [L2, L1]."""
    lines = frame[frame["panel"] == panel]
    return lines.pivot(index="target", columns="source", values=column).to_numpy()


def start_layers(start: np.ndarray) -> list[int]:
    """The start layer of each target layer, [L2]: the argmax of its start's |gamma|."""
    return [int(layer) for layer in np.abs(start).argmax(axis=1)]


def leading_layers(run: PlannedRun, runs: Path) -> list[int] | None:
    """The dominant source layer of each layer of a fused model; None for the source itself.

    It has the largest mean |gamma| over the types.

    Raises:
        BadInput: the run has no operators, or they are damaged.
    """
    if run.row.target is None:
        return None
    operators, _ = load_operators(runs / run.id / "operators.safetensors")
    size = np.mean([np.abs(_gamma(operators, type)) for type in LAYER_TYPES], axis=0)
    return [int(layer) for layer in size.argmax(axis=1)]
