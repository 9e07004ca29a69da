"""Writes a figure of the paper: gathers its facts, writes its numbers, then draws the pictures.

The pictures are drawn only from the files of numbers: here, or by the figure's notebook.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.facts.curves import score_curve_facts, tune_curve_facts
from lemon.reporting.facts.layer_merges import merge_facts
from lemon.reporting.facts.layer_operators import layer_operator_facts
from lemon.reporting.facts.neighbour_matches import match_facts
from lemon.reporting.facts.quality_costs import quality_cost_facts
from lemon.reporting.facts.receptive_fields import grid_facts
from lemon.reporting.facts.similarity_maps import similarity_facts
from lemon.reporting.figures import captions
from lemon.reporting.figures.drawing import draw_figure, write_pictures
from lemon.reporting.figures.figure_numbers import FigureNumbers, read_numbers, write_numbers

# Renderer -> (gathers the facts from the project, the runs and their text, makes numbers and text).
RENDERERS: dict[
    str, tuple[Callable[[Project, str, Path, Path | None], Any], Callable[[Any], FigureNumbers]]
] = {
    "receptive_field_grid": (grid_facts, captions.grid_numbers),
    "weight_similarity": (similarity_facts, captions.similarity_numbers),
    "activation_similarity": (similarity_facts, captions.similarity_numbers),
    "matched_correlation": (match_facts, captions.match_numbers),
    "layer_operators": (layer_operator_facts, captions.layer_operator_numbers),
    "layer_merges": (merge_facts, captions.merge_numbers),
    "scores_by_tokens": (score_curve_facts, captions.score_curve_numbers),
    "tune_curves": (tune_curve_facts, captions.tune_curve_numbers),
    "quality_by_cost": (quality_cost_facts, captions.quality_cost_numbers),
}


def write_figure(
    project: Project, figure: str, runs: Path, out: Path, text: Path | None = None
) -> None:
    """Write a figure of `paper.yaml`: its numbers, the pictures and, last, the manifest.

    Args:
        project: the preset with its tables and figures.
        figure: its name.
        runs: the folder of the runs' folders.
        out: folder of the files; created if missing.
        text: the packed text, for its floor; None for figures without.

    Raises:
        BadInput: no such figure, or a run's files are missing.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    write_figure_numbers(project, figure, runs, out, text)
    numbers = read_numbers(out, figure)
    write_pictures(figure, numbers, draw_figure(numbers), out, started)


def write_figure_numbers(
    project: Project, figure: str, runs: Path, out: Path, text: Path | None = None
) -> None:
    """Write `figure`.csv and `figure`.facts.json into `out`; arguments as of `write_figure`."""
    write_numbers(gathered_numbers(project, figure, runs, text), out, figure)


def gathered_numbers(
    project: Project, figure: str, runs: Path, text: Path | None = None
) -> FigureNumbers:
    """The numbers and text of a figure; arguments and errors as of `write_figure`."""
    entry = project.entry(figure)
    if not entry.is_figure:
        raise BadInput(f"{figure} is a table; run `lemon table --table {figure}`")
    gather, word = RENDERERS[entry.renderer]
    return word(gather(project, figure, runs, text))
