"""Draws a figure from its numbers, in three formats, and writes its manifest."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.figure import Figure

from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import atomic_file
from lemon.reporting.figures.cost_picture import draw_costs
from lemon.reporting.figures.curves_picture import draw_curves
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.figures.layer_operators_picture import draw_operators
from lemon.reporting.figures.matching_picture import draw_matches
from lemon.reporting.figures.merges_picture import draw_merges
from lemon.reporting.figures.receptive_fields_picture import draw_grid
from lemon.reporting.figures.similarity_picture import draw_similarity
from lemon.reporting.style import STYLE

PICTURES: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
KINDS = ("csv", "facts.json", *PICTURES)
DRAWINGS = {
    "receptive_field_grid": draw_grid,
    "weight_similarity": draw_similarity,
    "activation_similarity": draw_similarity,
    "matched_correlation": draw_matches,
    "layer_operators": draw_operators,
    "layer_merges": draw_merges,
    "scores_by_tokens": draw_curves,
    "tune_curves": draw_curves,
    "quality_by_cost": draw_costs,
}


def draw_figure(numbers: FigureNumbers) -> Figure:
    """Draw the picture of a figure's numbers.

    Raises:
        BadInput: the renderer is unknown.
    """
    renderer = numbers.words.renderer
    if renderer not in DRAWINGS:
        raise BadInput(f"no renderer {renderer!r}; there is {', '.join(DRAWINGS)}")
    with matplotlib.rc_context(STYLE):
        return DRAWINGS[renderer](numbers)


def write_pictures(
    figure: str,
    numbers: FigureNumbers,
    drawn: Figure,
    out: Path,
    started: float,
    **drawn_by: Any,
) -> None:
    """Write `figure`.{png,svg,pdf} and, last, `figure`.manifest.json into `out`.

    Args:
        figure: its name in `paper.yaml`.
        numbers: the figure's numbers; their files must be in `out`.
        drawn: the picture.
        out: the folder.
        started: `time.monotonic()` at the start of the work, for the manifest.
        drawn_by: the `command` in the manifest, where it is not that of the process.

    Raises:
        WorkFailed: a file can't be written.
    """
    words = asdict(numbers.words)
    for suffix in PICTURES:
        with atomic_file(out / f"{figure}.{suffix}") as path, path.open("wb") as file:
            save_picture(drawn, file, suffix)
    write_manifest(
        out / f"{figure}.manifest.json",
        "figure",
        **{name: words[name] for name in ("settings", "inputs", "departures", "findings")},
        started=started,
        **drawn_by,
        files=[out / f"{figure}.{kind}" for kind in KINDS],
    )


def save_picture(drawn: Figure, file: IO[bytes], suffix: str) -> None:
    """Save a picture in a format of `PICTURES`; the same numbers give the same bytes."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # silences a message for each font
    with matplotlib.rc_context(STYLE):
        drawn.savefig(file, format=suffix, **PICTURES[suffix])
