"""The facts of an accuracy table, gathered once; later steps do not read the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemon.architecture import LlamaShape
from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import lineage
from lemon.configuration.project import Project
from lemon.provenance import file_digest
from lemon.published.tables import published_rows
from lemon.reporting.facts.costs import RowCost, row_costs
from lemon.reporting.facts.departures import Departure, departures
from lemon.reporting.facts.gates import Gates, gates_of_runs
from lemon.reporting.facts.heldout import read_floors
from lemon.reporting.facts.inference_times import inference_times
from lemon.reporting.facts.model_costs import ModelCost, model_cost
from lemon.reporting.facts.outcomes import Protocol, outcomes_digest, protocols, read_runs
from lemon.reporting.facts.radii import RadiiSetting, radii_settings
from lemon.reporting.facts.rows import ScoredRow, scored_rows
from lemon.reporting.facts.setup import Setup, setup_of, target_shapes


@dataclass(frozen=True)
class AccuracyFacts:
    """The facts of an accuracy table, before verdicts and text.

    Attributes:
        targets: sizes of the small models by symbolic target, in the order of the rows.
        floors: held-out losses of `uniform`, `unigram` and `bigram` models, nats per token; empty
            if no run was scored on held-out text.
        costs: training costs of the rows in which something is learned.
        model_costs: by row, what its model costs, None if not run; empty if the table shows none.
        gates: of the runs that prune, by id: those of the rows, and those that they build on.
        radii: the receptive fields of the rows that learn widths.
        tasks_in_paper: the tasks of the published table.
        inputs: digest of the outcomes of each run, and of other files by name.
    """

    spec: TableSpec
    setup: Setup
    targets: dict[str, LlamaShape]
    rows: list[ScoredRow]
    floors: dict[str, float]
    costs: list[RowCost]
    model_costs: list[ModelCost | None]
    gates: dict[str, Gates]
    protocols: dict[str, Protocol]
    departures: list[Departure]
    radii: list[RadiiSetting]
    tasks_in_paper: frozenset[str]
    inputs: dict[str, str]


def accuracy_facts(
    project: Project, table: str, runs: Path, text: Path | None = None
) -> AccuracyFacts:
    """Gather an accuracy table.

    Raises:
        BadInput: a run is not evaluated or its training is incomplete, two runs can't be compared,
            or the runs were scored on held-out text and `text` is not that text.
    """
    spec = project.table(table)
    results = read_runs(runs, project.table_runs(table), spec.tasks)
    rows = scored_rows(project, table, results)
    shown = protocols(results, spec.tasks)
    in_paper = published_rows(spec.published) if spec.published else []
    suites = project.table_suites(table)
    times = inference_times(project, runs) if spec.costs else {}
    return AccuracyFacts(
        spec=spec,
        setup=setup_of(project),
        targets=target_shapes(project, spec),
        rows=rows,
        floors=read_floors(text, [heldout for row in rows for heldout in row.heldouts]),
        costs=row_costs(rows, runs),
        model_costs=[
            model_cost(project, row.runs[0], times) if row.runs else None
            for row in rows
            if spec.costs
        ],
        gates=gates_of_runs(lineage(run for row in rows for run in row.runs), runs),
        protocols=shown,
        departures=departures(project, table, shown),
        radii=radii_settings(project, table),
        tasks_in_paper=frozenset(task for row in in_paper for task in row.scores),
        inputs={run: outcomes_digest(runs / run, suites) for run in results}
        | {file: file_digest(runs / file) for file in project.figure_files(table)},
    )
