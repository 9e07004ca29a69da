"""The source model's scores by task, and its published scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.configuration.tasks import DENSE
from lemon.published.tables import PublishedScore, published_scores
from lemon.reporting.facts.departures import Departure, packaged_rows
from lemon.reporting.facts.outcomes import Protocol, outcomes_digest, protocols, read_run
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.setup import Setup, setup_of


@dataclass(frozen=True)
class DenseFacts:
    """The facts of the source model's table.

    Attributes:
        row: the source model on all tasks.
        published: published scores, each with the source model on the same tasks.
        packaged: the differences of each task's rows from the Hub's.
        dequantised: description of the quantised weights; None if the weights were not quantised.
        inputs: digest of the outcomes.
    """

    spec: TableSpec
    setup: Setup
    row: ScoredRow
    published: list[tuple[PublishedScore, ScoredRow]]
    protocols: dict[str, Protocol]
    packaged: list[Departure]
    dequantised: str | None
    inputs: dict[str, str]


def dense_facts(project: Project, table: str, runs: Path, *_: object) -> DenseFacts:
    """Gather the table of the source model.

    Raises:
        BadInput: the source was not evaluated in the dense suite.
    """
    spec, source = project.table(table), project.preset.source
    tasks, layers = tuple(spec.tasks), project.source_shape().num_hidden_layers
    [run] = project.table_runs(table)
    result = read_run(runs, run, tasks, DENSE)
    planned = (project.run(run),)
    row = ScoredRow(spec.rows[0], source.label, layers, tasks, planned, (result,), None)
    known = published_scores(spec.published, source.label, tasks) if spec.published else []
    quantised = source.asset if source.kind == "gguf" else None
    return DenseFacts(
        spec=spec,
        setup=setup_of(project),
        row=row,
        published=[(score, replace(row, tasks=score.tasks)) for score in known],
        protocols=protocols({run: result}, tasks),
        packaged=packaged_rows(project, table),
        dequantised=project.assets[quantised].what if quantised else None,
        inputs={run: outcomes_digest(runs / run, [DENSE])},
    )
