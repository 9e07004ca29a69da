"""Figures 5 and 10: the learned gamma, what it says of claim C25, caption, and the picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lemon.configuration.paper import COMPONENTS, FigureSpec
from lemon.configuration.project import Project
from lemon.provenance import file_digest
from lemon.published.tables import published_claims
from lemon.reporting.claims.orderings import FAILS, HOLDS
from lemon.reporting.facts.departures import Departure, departures_in_words, figure_departures
from lemon.reporting.facts.layer_operators import gamma_of, operator_lines, start_layers
from lemon.reporting.figures.figure_numbers import FigureNumbers, Finding
from lemon.reporting.figures.layer_operators_picture import draw_operators
from lemon.similarity.profile import OffsetProfile, offset_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def operator_numbers(project: Project, figure: str, runs: Path) -> FigureNumbers:
    """The gamma of a figure's panels, learned and at the start, and what they say.

    Raises:
        BadInput: a run's operators, or those of its start, are missing or damaged.
    """
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    frame = operator_lines(project, spec, runs)
    known = published_claims()
    departures = figure_departures(project, spec)
    read = [run for run in (*spec.runs, *map(project.start_run, spec.runs)) if run]
    files = [f"{run}/operators.safetensors" for run in dict.fromkeys(read)]
    return FigureNumbers(
        frame=frame,
        title=spec.title,
        caption=_caption(project, spec, departures),
        findings=[
            Finding(claim, known[claim]["claim"], *shrinks_with_distance(frame))
            for claim in spec.claims
        ],
        departures=[asdict(departure) for departure in departures],
        inputs={file: file_digest(runs / file) for file in files},
    )


def draw_layer_operators(project: Project, figure: str, numbers: FigureNumbers) -> Figure:
    """The heat maps of gamma and the offset profiles."""
    return draw_operators(numbers.frame, numbers.title, numbers.caption)


def shrinks_with_distance(frame: pd.DataFrame) -> tuple[str, str]:
    """C25: what was learned falls with the distance from the start layer, to negative far away.

    Measured on gamma minus its start, without the offset 0: near is within a quarter of the
    source's layers, far is beyond half.
    """
    words, verdicts = [], []
    for panel, lines in frame.groupby("panel"):
        change = gamma_of(frame, int(panel)) - gamma_of(frame, int(panel), "start")
        profile = offset_profile(change, start_layers(gamma_of(frame, int(panel), "start")))
        near, far = _means(profile, change.shape[1])
        words.append(
            f"{lines['label'].iloc[0]}: mean change {near:+.4f} near, {far:+.4f} far, rank "
            f"correlation with distance {profile.rank_correlation:.2f}"
        )
        falls = profile.rank_correlation < 0 and near > far and far < 0
        verdicts.append(HOLDS if falls else FAILS)
    if len(verdicts) > 1:
        words.append(f"it holds of {verdicts.count(HOLDS)} of {len(verdicts)} panels")
    return "; ".join(words), HOLDS if set(verdicts) == {HOLDS} else FAILS


def _means(profile: OffsetProfile, num_source_layers: int) -> tuple[float, float]:
    """Mean change over the entries near the start layer, and over those far from it."""
    distance = np.abs(profile.offsets)
    near = (distance > 0) & (distance <= num_source_layers / 4)
    far = distance > num_source_layers / 2
    means, counts = profile.means, profile.counts
    return (
        float(np.average(means[near], weights=counts[near])),
        float(np.average(means[far], weights=counts[far])),
    )


def _caption(project: Project, spec: FigureSpec, departures: list[Departure]) -> str:
    """What must be known to read the figure: model, preset, runs, start, learning."""
    sentences = [f"Preset {project.preset_name}, {project.preset.source.label}."]
    for run in spec.runs:
        source, target = project.fused_shape(run), project.target_shape(run)
        sentences.append(
            f"Run {run}: {source.num_hidden_layers} layers fused to {target.num_hidden_layers}, "
            f"gamma learned from {project.run(run).row.start}; weights frozen."
        )
    several = [c for c in dict.fromkeys(p.component for p in spec.panels) if len(_parts(c)) > 1]
    sentences += [f"{c}: mean of gamma over {', '.join(_parts(c))}." for c in several]
    sentences.append(
        "Row: target layer; column: source layer. One scale, that of the largest change, in all "
        "panels; a dash marks entries below a quarter of its negative end. Start layer: where the "
        "start of a row is largest."
    )
    return " ".join([*sentences, *spec.notes, departures_in_words(departures)])


def _parts(component: str) -> tuple[str, ...]:
    return COMPONENTS.get(component, (component,))
