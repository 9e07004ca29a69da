"""Figure 4 right: its numbers from the outcomes of the runs, and its picture from the numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.configuration.project import Project
from lemon.reporting.facts.departures import departures
from lemon.reporting.facts.outcomes import outcomes_digest, read_runs
from lemon.reporting.facts.protocol import protocols
from lemon.reporting.facts.rows import scored_rows
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.figures.receptive_field_grid import WHOLE, caption, grid_lines
from lemon.reporting.figures.receptive_fields_picture import draw_receptive_field_grid
from lemon.reporting.tables.radii_section import named_radii

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grid_numbers(project: Project, figure: str, runs: Path) -> FigureNumbers:
    """Scores, operator sizes and step times of the figure's runs.

    Raises:
        BadInput: a run is not evaluated or has no step times, or two runs can't be compared or
            share a cell.
    """
    spec = project.table(figure)
    tasks = tuple(spec.tasks)
    results = read_runs(runs, project.table_runs(figure), tasks)
    frame = grid_lines(project, figure, scored_rows(project, figure, results), runs)
    documents = max(result.correct[task].size for result in results.values() for task in tasks)
    shown = protocols(results, tasks)
    return FigureNumbers(
        frame=frame,
        title=spec.title,
        caption=caption(project, figure, frame, documents),
        departures=[asdict(departure) for departure in departures(project, figure, shown)],
        inputs={run: outcomes_digest(runs / run, project.table_suites(figure)) for run in results},
    )


def draw_grid(project: Project, figure: str, numbers: FigureNumbers) -> Figure:
    """The four heat maps over the receptive fields."""
    frame = numbers.frame.astype({name: "Int64" for name in WHOLE})
    return draw_receptive_field_grid(
        frame, numbers.title, numbers.caption, paper_names(project, figure)
    )


def paper_names(project: Project, figure: str) -> dict[str, dict[int, str]]:
    """For `r_a` and `r_i`, by our radius, the paper's radius where that is another."""
    names: dict[str, dict[int, str]] = {"r_a": {}, "r_i": {}}
    for run in project.table(figure).runs:
        theirs, ours = named_radii(project.run(run).row.radii or ""), project.radii(run)
        if theirs and theirs.attention != ours.attention:
            names["r_a"][ours.attention] = str(theirs.attention)
        if theirs and theirs.ffn != ours.ffn:
            names["r_i"][ours.ffn] = str(theirs.ffn)
    return names
