"""Write a figure of the paper: its numbers, the picture in three formats, and a manifest.

The numbers come first, as files, and the picture is drawn from those alone: by the figure's
notebook, or here in one go.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lemon.configuration.paper import FigureSpec, TableSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import atomic_file
from lemon.reporting.figures.figure_numbers import FigureNumbers, read_numbers, write_numbers
from lemon.reporting.figures.layer_operators import draw_layer_operators, operator_numbers
from lemon.reporting.figures.receptive_fields import draw_grid, grid_numbers
from lemon.reporting.figures.similarity import draw_maps, similarity_numbers
from lemon.reporting.style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
KINDS = ("csv", "facts.json", *PICTURES)
# Renderer -> the numbers of a figure from the folder of runs, and the picture from the numbers.
RENDERERS = {
    "receptive_field_grid": (grid_numbers, draw_grid),
    "weight_similarity": (similarity_numbers, draw_maps),
    "activation_similarity": (similarity_numbers, draw_maps),
    "layer_operators": (operator_numbers, draw_layer_operators),
}


def write_figure(project: Project, figure: str, runs: Path, out: Path) -> None:
    """Write everything of a figure: its numbers, the pictures and, last, the manifest.

    Args:
        project: the preset with its registry of tables and figures.
        figure: a figure of `paper.yaml`.
        runs: the folder that holds one folder a run.
        out: folder of the files; made where it isn't there.

    Raises:
        BadInput: no such figure, or a run lacks what the figure shows of it.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    write_figure_numbers(project, figure, runs, out)
    numbers = read_numbers(out, figure)
    write_pictures(project, figure, numbers, draw_figure(project, figure, numbers), out, started)


def write_figure_numbers(project: Project, figure: str, runs: Path, out: Path) -> None:
    """Write `figure`.csv and `figure`.facts.json into `out`; arguments as of `write_figure`."""
    compute, _ = _renderer(project, figure)
    write_numbers(compute(project, figure, runs), out, figure)


def draw_figure(project: Project, figure: str, numbers: FigureNumbers) -> Figure:
    """The picture of a figure's numbers.

    Raises:
        BadInput: no such figure.
    """
    _, draw = _renderer(project, figure)
    return draw(project, figure, numbers)


def write_pictures(
    project: Project,
    figure: str,
    numbers: FigureNumbers,
    drawn: Figure,
    out: Path,
    started: float | None = None,
    notebook: str | None = None,
) -> None:
    """Write `figure`.{png,svg,pdf} and, last, `figure`.manifest.json into `out`.

    Args:
        project: the preset.
        figure: a figure of `paper.yaml`.
        numbers: what was drawn; its files lie in `out`.
        drawn: the picture.
        out: folder of the files.
        started: `time.monotonic()` at the start of the work, for the manifest.
        notebook: which drew it; the manifest names it in place of the kernel's command.

    Raises:
        WorkFailed: a file can't be written.
    """
    begun = time.monotonic() if started is None else started
    drawn_by: dict[str, Any] = {"command": [notebook]} if notebook else {}
    for suffix, options in PICTURES.items():
        with atomic_file(out / f"{figure}.{suffix}") as path, path.open("wb") as file:
            save_picture(drawn, file, suffix, options)
    write_manifest(
        out / f"{figure}.manifest.json",
        "figure",
        settings={"preset": project.preset_name, "figure": figure, "config": project.digest()},
        inputs=numbers.inputs,
        started=begun,
        departures=numbers.departures,
        **drawn_by,
        findings=[vars(finding) for finding in numbers.findings],
        files=[out / f"{figure}.{kind}" for kind in KINDS],
    )


def save_picture(drawn: Figure, file: IO[bytes], suffix: str, options: dict[str, Any]) -> None:
    """Save a picture in one format; the same numbers give the same bytes."""
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every font it embeds
    with matplotlib.rc_context(STYLE):
        drawn.savefig(file, format=suffix, **options)


def _renderer(project: Project, figure: str) -> Any:
    spec = project.entry(figure)
    if not spec.is_figure:
        raise BadInput(f"{figure} is a table; run `lemon table --table {figure}`")
    assert isinstance(spec, TableSpec | FigureSpec)
    return RENDERERS[spec.renderer]
