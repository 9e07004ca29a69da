"""The learned layer operators and their starts, in tidy form.

gamma.<type> [L2, L1]: row = target layer, column = source layer; paper, equation 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lemon.architecture import LAYER_TYPES
from lemon.configuration.figure_specs import COMPONENTS, FigureSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.operators.file import load_operators
from lemon.reporting.facts.figure import FigureFacts, figure_departures, shared_facts


def layer_operator_facts(
    project: Project, figure: str, runs: Path, *_: object
) -> FigureFacts[FigureSpec]:
    """Gather a figure of layer operators, as of `operator_lines`, from the runs' folders."""
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    frame = operator_lines(project, spec, runs)
    starts = [run.start_run.id for run in map(project.run, spec.runs) if run.start_run]
    files = [f"{run}/operators.safetensors" for run in dict.fromkeys([*spec.runs, *starts])]
    return FigureFacts(
        **shared_facts(project, figure, {file: runs / file for file in files}),
        frame=frame,
        departures=figure_departures(project, spec),
    )


def operator_lines(project: Project, spec: FigureSpec, runs: Path) -> pd.DataFrame:
    """The gamma of a figure in tidy form: one line for each entry, with its start.

    `panel` counts from 0. A panel of `mha` or `ffn` holds the mean over its matrix types.

    Raises:
        BadInput: a run has no start with operators.
    """
    parts = []
    for number, panel in enumerate(spec.panels):
        types = COMPONENTS.get(panel.component, (panel.component,))
        start = project.run(panel.run).start_run
        if start is None:
            raise BadInput(f"runs.tsv: no run has the operators that {panel.run} starts from")
        learned, initial = (
            np.mean(_gammas(runs, run, types), axis=0) for run in (panel.run, start.id)
        )
        target, source = np.indices(learned.shape)
        lines = {
            "panel": number,
            "label": panel.label,
            "run": panel.run,
            "component": panel.component,
            "target": target.ravel(),
            "source": source.ravel(),
            "gamma": learned.ravel().round(6),
            "start": initial.ravel().round(6),
        }
        parts.append(pd.DataFrame(lines))
    return pd.concat(parts, ignore_index=True)


def _gammas(runs: Path, run: str, types: Iterable[str]) -> list[np.ndarray]:
    """The gamma of each type in a run's operators, [L2, L1] float64."""
    operators, _ = load_operators(runs / run / "operators.safetensors")
    identity = np.eye(operators.source.num_hidden_layers)  # where a type is absent
    return [
        operators.gamma[type].dense().double().numpy() if type in operators.gamma else identity
        for type in types
    ]


def gamma_of(frame: pd.DataFrame, panel: int, column: str = "gamma") -> np.ndarray:
    """The gamma of a panel, or its `start`, [L2, L1]."""
    lines = frame[frame["panel"] == panel]
    return lines.pivot(index="target", columns="source", values=column).to_numpy()


def start_layers(start: np.ndarray) -> list[int]:
    """The start layer of each target layer, [L2]: the argmax of its start's |gamma|."""
    return [int(layer) for layer in np.abs(start).argmax(axis=1)]


def leading_layers(run: PlannedRun, runs: Path) -> list[int] | None:
    """The source layer with the largest mean |gamma| for each layer of a fused model.

    None for the source itself. A run that keeps all layers keeps each in its place.
    """
    if run.row.target is None:
        return None
    if run.target_shape.num_hidden_layers == run.fused_shape.num_hidden_layers:
        return list(range(run.target_shape.num_hidden_layers))
    size = np.mean([np.abs(gamma) for gamma in _gammas(runs, run.id, LAYER_TYPES)], axis=0)
    return [int(layer) for layer in size.argmax(axis=1)]
