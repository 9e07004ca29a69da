"""The facts of an accuracy table, gathered once; later steps do not read the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import lineage
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.published.tables import published_rows
from lemon.reporting.facts.costs import RowCost, row_costs
from lemon.reporting.facts.departures import Departure, departures
from lemon.reporting.facts.gates import Gates, gates_of_runs
from lemon.reporting.facts.heldout import read_floors
from lemon.reporting.facts.model_costs import ModelCost, row_model_costs
from lemon.reporting.facts.outcomes import Protocol, outcomes_digest, protocols, read_runs
from lemon.reporting.facts.radii import RadiiFacts, radii_facts
from lemon.reporting.facts.rows import ScoredRow, scored_rows
from lemon.reporting.facts.setup import Setup, Sizes, setup_of, source_sizes, target_sizes


@dataclass(frozen=True)
class AccuracyFacts:
    """The facts of an accuracy table, before verdicts and text.

    Attributes:
        source: sizes of the source model, here and in the paper.
        targets: sizes of the small models by symbolic target, in the order of the rows.
        floors: held-out losses of `uniform`, `unigram` and `bigram` models, nats per token; empty
            if no run was scored on held-out text.
        costs: training costs of the rows in which something is learned.
        model_costs: by row, what its model costs, None if not run; empty if the table shows none.
        gates: of the runs that prune, by id: those of the rows, and those that they build on.
        radii: the receptive fields; None if no row learns widths.
        tasks_in_paper: the tasks of the published table.
        inputs: digest of the outcomes of each run.
    """

    spec: TableSpec
    setup: Setup
    source: Sizes
    targets: dict[str, Sizes]
    rows: list[ScoredRow]
    floors: dict[str, float]
    costs: list[RowCost]
    model_costs: list[ModelCost | None]
    gates: dict[str, Gates]
    protocols: dict[str, Protocol]
    departures: list[Departure]
    radii: RadiiFacts | None
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
    return AccuracyFacts(
        spec=spec,
        setup=setup_of(project),
        source=source_sizes(project),
        targets=target_sizes(project, spec),
        rows=rows,
        floors=floors_of(rows, text),
        costs=row_costs(rows, runs),
        model_costs=row_model_costs(project, rows) if spec.costs else [],
        gates=gates_of_runs(lineage(run for row in rows for run in row.runs), runs),
        protocols=shown,
        departures=departures(project, table, shown),
        radii=radii_facts(project, table),
        tasks_in_paper=frozenset(task for row in in_paper for task in row.scores),
        inputs={run: outcomes_digest(runs / run, suites) for run in results},
    )


def floors_of(rows: list[ScoredRow], text: Path | None) -> dict[str, float]:
    """The floors of the held-out text in `text`; none if no row was scored on held-out text.

    Raises:
        BadInput: `text` is missing, or is not what the rows were scored on.
    """
    heldouts = [heldout for row in rows for heldout in row.heldouts]
    if not heldouts:
        return {}
    if text is None:
        raise BadInput(
            "the runs were scored on held-out text, whose floors are shown beside them; name its "
            "folder with --text"
        )
    return read_floors(text, heldouts[0])
