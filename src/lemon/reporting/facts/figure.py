"""The common facts of all figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lemon.configuration.figure_specs import CurvesSpec, FigureSpec, MergesSpec
from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.reporting.facts.departures import Departure, departures
from lemon.reporting.facts.outcomes import RunResult, outcomes_digest, protocols
from lemon.reporting.facts.setup import Setup, setup_of


@dataclass(frozen=True)
class FigureFacts:
    """The facts of a figure, before verdicts and text.

    Attributes:
        name, spec: its entry in `paper.yaml`.
        frame: the numbers in tidy form.
        inputs: digests of the input files by name.
    """

    name: str
    spec: FigureSpec | MergesSpec | CurvesSpec | TableSpec
    setup: Setup
    runs: list[PlannedRun]
    frame: pd.DataFrame
    departures: list[Departure]
    inputs: dict[str, str]


@dataclass(frozen=True)
class ScoredFigureFacts(FigureFacts):
    """A figure of scores; `documents` is the largest number of rows of a task."""

    spec: TableSpec
    documents: int


def of_scores(
    project: Project, figure: str, results: Mapping[str, RunResult], runs: Path
) -> dict[str, Any]:
    """The facts that all figures of scores have, but for the frame; by field."""
    spec, suites = project.table(figure), project.table_suites(figure)
    return {
        "name": figure,
        "spec": spec,
        "setup": setup_of(project),
        "runs": [project.run(run) for run in spec.runs],
        "departures": departures(project, figure, protocols(results, spec.tasks)),
        "inputs": {name: outcomes_digest(runs / name, suites) for name in results},
        "documents": max(
            result.correct[task].size for result in results.values() for task in spec.tasks
        ),
    }
