"""The common facts of all figures, and what differs from the paper in those without scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from lemon.configuration.figure_specs import CurvesSpec, FigureSpec, MergesSpec
from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.provenance import file_digest
from lemon.published.tables import published_setup
from lemon.reporting.facts.departures import Departure, departures
from lemon.reporting.facts.outcomes import RunResult, outcomes_digest, protocols
from lemon.reporting.facts.setup import Setup, setup_of

Spec = TypeVar("Spec", FigureSpec, MergesSpec, CurvesSpec, TableSpec)


@dataclass(frozen=True, kw_only=True)
class FigureFacts(Generic[Spec]):
    """The facts of a figure, before verdicts and text.

    Attributes:
        name, spec: its entry in `paper.yaml`.
        frame: the numbers in tidy form.
        inputs: digests of the input files by name.
    """

    name: str
    spec: Spec
    setup: Setup
    runs: list[PlannedRun]
    frame: pd.DataFrame
    inputs: dict[str, str]
    departures: list[Departure] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ScoredFigureFacts(FigureFacts[TableSpec]):
    """A figure of scores; `documents` is the largest number of rows of a task."""

    documents: int


def shared_facts(project: Project, figure: str, read: Mapping[str, Path]) -> dict[str, Any]:
    """The facts that all figures have, but for the frame, by field; `read` has the input files."""
    spec = project.entry(figure)
    return {
        "name": figure,
        "spec": spec,
        "setup": setup_of(project),
        "runs": [project.run(run) for run in spec.runs],
        "inputs": {name: file_digest(path) for name, path in read.items()},
    }


def of_scores(
    project: Project, figure: str, results: Mapping[str, RunResult], runs: Path
) -> dict[str, Any]:
    """The facts that all figures of scores have, but for the frame; by field."""
    suites, shown = project.table_suites(figure), protocols(results, project.table(figure).tasks)
    return {
        **shared_facts(project, figure, {}),
        "departures": departures(project, figure, shown),
        "inputs": {name: outcomes_digest(runs / name, suites) for name in results}
        | {file: file_digest(runs / file) for file in project.figure_files(figure)},
        "documents": max(
            answers.size for result in results.values() for answers in result.correct.values()
        ),
    }


def figure_departures(project: Project, spec: FigureSpec) -> list[Departure]:
    """All settings of a figure that differ from the paper's."""
    paper, source = published_setup(), project.preset.source.label
    found = []
    if source != paper["source"]:
        found.append(Departure("model", source, paper["source"]))
    for panel in spec.panels:
        given = project.run(panel.run).given_model
        name = panel.run if given is None else given.label
        if panel.shows_second_size and name != paper["second_size"]:
            found.append(Departure("second size", name, paper["second_size"]))
    length, length_in_paper = project.preset.text.sequence_length, int(paper["sequence_length"])
    for run in map(project.run, spec.runs):
        if not run.method.learned:
            continue
        rate = "dimension_rate" if run.changes_widths else "layer_rate"
        batch, batch_in_paper = run.learning.batch_sequences, int(paper["batch_sequences"])
        found += [
            Departure(f"{words} of {run.id}", f"{here:,}", f"{there:,}")
            for words, here, there in (
                ("steps", run.steps, int(paper["fusion_steps"])),
                ("tokens a step", batch * length, batch_in_paper * length_in_paper),
                ("peak rate", getattr(run.learning, rate), float(paper[rate])),
            )
            if here != there
        ]
    return found
