"""Write a figure of the paper: tidy CSV, the picture in three formats, and a manifest."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.errors import BadInput
from lemon.presets import Project
from lemon.provenance import file_digest, write_manifest
from lemon.reporting.departures import departures
from lemon.reporting.outcome_files import outcomes_digest
from lemon.reporting.protocol import protocols
from lemon.reporting.radii_section import named_radii
from lemon.reporting.receptive_field_grid import caption, grid_lines
from lemon.reporting.receptive_field_picture import STYLE, draw_receptive_field_grid
from lemon.reporting.results import read_runs
from lemon.reporting.rows import scored_rows
from lemon.storage import atomic_file, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
KINDS = ("csv", *PICTURES)


def write_figure(project: Project, figure: str, runs: Path, out: Path) -> None:
    """Write `figure`.{csv,png,svg,pdf} and, last, `figure`.manifest.json into `out`.

    Args:
        project: the preset with its registry of tables and figures.
        figure: a figure of `paper.yaml`.
        runs: the folder that holds one folder a run, each with `outcomes/`.
        out: folder of the files; made where it isn't there.

    Raises:
        BadInput: no such figure, a run is not evaluated or has no step times, or two runs can't
            be compared or share a cell.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    spec = project.table(figure)
    if not spec.is_figure:
        raise BadInput(f"{figure} is a table; run `lemon table --table {figure}`")
    tasks = tuple(spec.tasks)
    results = read_runs(runs, project.table_runs(figure), tasks)
    frame = grid_lines(project, figure, scored_rows(project, figure, results), runs)
    documents = max(result.correct[task].size for result in results.values() for task in tasks)
    drawn = draw_receptive_field_grid(
        frame, spec.title, caption(project, figure, frame, documents), paper_names(project, figure)
    )
    write_text(out / f"{figure}.csv", frame.to_csv(index=False))
    for suffix, options in PICTURES.items():
        with atomic_file(out / f"{figure}.{suffix}") as path:
            _save(drawn, path, suffix, options)
    shown = protocols(results, tasks)
    write_manifest(
        out / f"{figure}.manifest.json",
        "figure",
        settings={"preset": project.preset_name, "figure": figure, "config": project.digest()},
        inputs={run: outcomes_digest(runs / run, project.table_suites(figure)) for run in results},
        started=started,
        departures=[asdict(departure) for departure in departures(project, figure, shown)],
        files={f"{figure}.{kind}": file_digest(out / f"{figure}.{kind}") for kind in KINDS},
    )


def paper_names(project: Project, figure: str) -> dict[str, dict[int, str]]:
    """For `r_a` and `r_i`, by our radius, the paper's radius where that is another."""
    names: dict[str, dict[int, str]] = {"r_a": {}, "r_i": {}}
    for run in project.table(figure).runs:
        theirs, ours = named_radii(project.run(run).radii or ""), project.radii(run)
        if theirs and theirs.attention != ours.attention:
            names["r_a"][ours.attention] = str(theirs.attention)
        if theirs and theirs.ffn != ours.ffn:
            names["r_i"][ours.ffn] = str(theirs.ffn)
    return names


def _save(drawn: Figure, path: Path, suffix: str, options: dict[str, Any]) -> None:
    import matplotlib

    with matplotlib.rc_context(STYLE):
        drawn.savefig(path, format=suffix, **options)
