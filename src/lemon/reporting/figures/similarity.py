"""Figures of layer similarity: numbers from the maps, findings, caption, and the picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.configuration.paper import COMPONENTS, FigureSpec
from lemon.configuration.project import Project
from lemon.provenance import file_digest
from lemon.reporting.claims.similarity import BOUND, MapSet, findings
from lemon.reporting.facts.departures import Departure, departures_in_words, figure_departures
from lemon.reporting.facts.layer_operators import leading_layers
from lemon.reporting.facts.similarity_maps import panel_label, similarity_lines, weights_floor
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.figures.similarity_picture import SimilarityPanel, draw_similarity
from lemon.reporting.tables.headings import widths_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def similarity_numbers(project: Project, figure: str, runs: Path) -> FigureNumbers:
    """The maps of a figure's panels, and what they say.

    Raises:
        BadInput: a map, or the operators of a fused model, is missing or damaged.
    """
    spec = _spec(project, figure)
    frame = similarity_lines(project, spec, runs)
    labels = [panel_label(project, panel) for panel in spec.panels]
    maps = MapSet(
        frame=frame,
        components=[panel.component for panel in spec.panels],
        labels=labels,
        floors=_floors(project, spec),
        kept=[leading_layers(project, panel.run, runs) for panel in spec.panels],
    )
    departures = figure_departures(project, spec)
    return FigureNumbers(
        frame=frame,
        title=spec.title,
        caption=_caption(project, spec, departures),
        findings=findings(maps, spec.claims),
        departures=[asdict(departure) for departure in departures],
        inputs={map.path: file_digest(runs / map.path) for map in spec.maps},
    )


def draw_maps(project: Project, figure: str, numbers: FigureNumbers) -> Figure:
    """The heat maps and their curves."""
    spec = _spec(project, figure)
    panels = [
        SimilarityPanel(panel_label(project, panel), panel.component, floor)
        for panel, floor in zip(spec.panels, _floors(project, spec), strict=True)
    ]
    return draw_similarity(
        numbers.frame,
        panels,
        numbers.title,
        numbers.caption,
        threshold=BOUND if "C24" in spec.claims else None,
        outline_blocks="C23" in spec.claims,
    )


def _spec(project: Project, figure: str) -> FigureSpec:
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    return spec


def _floors(project: Project, spec: FigureSpec) -> list[float | None]:
    """Plain CKA of random weights of each panel's sizes; of activations it is not known."""
    if spec.renderer != "weight_similarity":
        return [None for _ in spec.panels]
    return [weights_floor(project.target_shape(p.run), p.component) for p in spec.panels]


def _caption(project: Project, spec: FigureSpec, departures: list[Departure]) -> str:
    """What must be known to read the figure: model, preset, runs, matrices, estimators."""
    sentences = [f"Preset {project.preset_name}, {project.preset.source.label}."]
    for run in spec.runs:
        shape = project.target_shape(run)
        sizes = f"{shape.num_hidden_layers} layers, hidden {widths_in_words(shape)}"
        sentences.append(f"Run {run}: {sizes}.")
    if spec.renderer == "weight_similarity":
        several = [c for c in dict.fromkeys(p.component for p in spec.panels) if _parts(c) > 1]
        sentences += [f"{c}: mean of the maps of {', '.join(COMPONENTS[c])}." for c in several]
        sentences.append(
            "Linear CKA of weights; rows are the residual coordinates, columns the units, centred. "
            "Random floor: plain CKA of independent random matrices, p / (p + n) for p units and n "
            "residual coordinates; debiased CKA of those is 0."
        )
    else:
        sentences.append(
            "Linear CKA of outputs before they are added to the residual stream; rows are 2,048 "
            "held-out tokens, the first of a sequence left out, columns the coordinates, centred."
        )
    return " ".join([*sentences, *spec.notes, departures_in_words(departures)])


def _parts(component: str) -> int:
    return len(COMPONENTS[component])
