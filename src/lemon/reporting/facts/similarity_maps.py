"""The similarity of all pairs of layers in tidy form, read from the maps of `lemon cka`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lemon.architecture import LAYER_TENSORS, LlamaShape
from lemon.configuration.figure_specs import (
    BLOCKS,
    COMPONENTS,
    FigurePanel,
    FigureSpec,
    SimilarityMap,
)
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import checked_file
from lemon.reporting.facts.figure import FigureFacts, figure_departures, shared_facts
from lemon.reporting.facts.layer_operators import leading_layers
from lemon.similarity.blocks import blocks


@dataclass(frozen=True)
class Panel:
    """One panel of a figure of similarity.

    Attributes:
        floor: plain CKA of independent random matrices of these sizes; None if unknown.
        blocks: first and last layer of each block to outline.
    """

    label: str
    component: str
    floor: float | None
    blocks: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class SimilarityFacts(FigureFacts[FigureSpec]):
    """A figure of layer similarity; `frame` has one line for each pair of layers and map.

    Attributes:
        kept: by panel, the dominant source layer of each layer of a fused model; None for the
            source.
    """

    panels: list[Panel]
    kept: list[list[int] | None]

    def map(self, panel: int, measure: str, component: str | None = None) -> np.ndarray:
        """One map of a panel, [L, L]; by default of the panel's component."""
        own = self.panels[panel].component
        return map_of(self.frame, panel, component or own, measure)


def similarity_facts(project: Project, figure: str, runs: Path, *_: object) -> SimilarityFacts:
    """Gather a figure of similarity from the folder of the runs' folders."""
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    frame = similarity_lines(project, spec, runs)
    shown = [project.run(panel.run) for panel in spec.panels]
    panels = []
    for number, (panel, run) in enumerate(zip(spec.panels, shown, strict=True)):
        component, floor, outlined = panel.component, None, list[tuple[int, int]]()
        if spec.renderer == "weight_similarity":  # unknown for activations
            floor = weights_floor(run.target_shape, component)
        if BLOCKS in spec.claims:
            outlined = list(blocks(map_of(frame, number, component, "debiased")).blocks)
        panels.append(Panel(panel_label(project, panel), component, floor, outlined))
    return SimilarityFacts(
        **shared_facts(project, figure, {map.path: runs / map.path for map in spec.maps}),
        panels=panels,
        kept=[leading_layers(run, runs) for run in shown],
        frame=frame,
        departures=figure_departures(project, spec),
    )


def similarity_lines(project: Project, spec: FigureSpec, runs: Path) -> pd.DataFrame:
    """The maps of a figure in tidy form: one line for each pair of layers, layer <= other.

    `panel` counts from 0. A panel of `mha` or `ffn` weights has the mean of the maps of its
    matrices and each of these maps.
    """
    parts = []
    for number, panel in enumerate(spec.panels):
        by_measure: dict[str, list[tuple[str, np.ndarray]]] = {}
        for map in spec.maps_of(panel):
            by_measure.setdefault(map.measure, []).append((map.component, read_map(runs, map)))
        for measure, found in by_measure.items():
            if len(found) > 1:
                mean = np.mean([matrix for _, matrix in found], axis=0)
                found.insert(0, (panel.component, mean))
            for component, matrix in found:
                layer, other = np.triu_indices(len(matrix))
                lines = {
                    "panel": number,
                    "label": panel_label(project, panel),
                    "run": panel.run,
                    "component": component,
                    "measure": measure,
                    "layer": layer,
                    "other": other,
                    "similarity": matrix[layer, other].round(6),
                }
                parts.append(pd.DataFrame(lines))
    return pd.concat(parts, ignore_index=True)


def panel_label(project: Project, panel: FigurePanel) -> str:
    """The title of a panel; for an unchanged model the model's name."""
    given = project.run(panel.run).given_model
    return panel.label if given is None else given.label


def read_map(runs: Path, map: SimilarityMap) -> np.ndarray:
    """One map of `lemon cka`, [L, L].

    Raises:
        BadInput: it is missing, damaged or not a square table of numbers.
    """
    path = written_file(runs, map)
    try:
        matrix = pd.read_csv(path, index_col=0).to_numpy(dtype=float)
    except ValueError as error:
        raise BadInput(f"{path}: is not a map of `lemon cka` ({error}); remove it, rerun") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise BadInput(f"{path}: is not a square map of finite numbers; remove it, rerun")
    return matrix


def written_file(runs: Path, map: SimilarityMap) -> Path:
    """The path of a measurement, checked against its manifest.

    Raises:
        BadInput: it is missing or damaged.
    """
    path, command = runs / map.path, f"`lemon {map.stage}`"
    manifest = path.with_suffix(".manifest.json")
    if not path.is_file():
        raise BadInput(f"{path}: no such map; {command} writes it")
    if not manifest.is_file():
        raise BadInput(f"{manifest}: no such file; run {command} for {path} again")
    return checked_file(path, manifest)


def map_of(frame: pd.DataFrame, panel: int, component: str, measure: str) -> np.ndarray:
    """One map from the tidy lines, [L, L], symmetric."""
    shown = (frame["panel"] == panel) & (frame["component"] == component)
    lines = frame[shown & (frame["measure"] == measure)]
    size = int(lines["other"].max()) + 1
    matrix = np.empty((size, size))
    layer, other = lines["layer"].to_numpy(), lines["other"].to_numpy()
    matrix[layer, other] = matrix[other, layer] = lines["similarity"].to_numpy()
    return matrix


def weights_floor(shape: LlamaShape, component: str) -> float:
    """Plain CKA of independent random weights: mean of p / (p + n) over the component's matrices.

    n is the hidden size, p the number of units of a matrix (method section 9).
    """
    units = (LAYER_TENSORS[type].inner_axis for type in COMPONENTS[component])
    sizes = [shape.axis_size(axis) for axis in units if axis is not None]
    return float(np.mean([size / (size + shape.hidden_size) for size in sizes]))
