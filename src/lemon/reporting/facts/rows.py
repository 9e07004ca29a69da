"""The rows of a table, each with its runs' results and its published row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemon.configuration.paper import TableRow
from lemon.configuration.project import Project
from lemon.published.tables import PublishedRow, published_row
from lemon.reporting.facts.outcomes import RunResult


@dataclass(frozen=True)
class ScoredRow:
    """A row of the table with what is known about it.

    `results` holds one entry per seed, and none where the row was not run. The source's row is
    labelled with the model's own name.
    """

    spec: TableRow
    label: str
    layers: int
    published: PublishedRow | None
    results: list[RunResult]

    def document_scores(self, tasks: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
        """By task, each document's score averaged over the seeds; [documents]."""
        return {
            task: np.mean([result.correct[task] for result in self.results], axis=0)
            for task in tasks
        }

    @property
    def losses(self) -> list[float]:
        """The held-out losses of the seeds, nats per token; empty where none was measured."""
        return [result.loss for result in self.results if result.loss is not None]

    @property
    def loss(self) -> float | None:
        """Their mean: its exp, the geometric mean perplexity, is not decided by one broken seed."""
        return sum(self.losses) / len(self.losses) if self.losses else None


def scored_rows(project: Project, table: str, results: dict[str, RunResult]) -> list[ScoredRow]:
    """Pair every row of a table with its runs' results and its published row.

    Raises:
        BadInput: the published table lacks a row that the registry names.
    """
    spec = project.table(table)
    source_layers = project.source_shape().num_hidden_layers
    rows = []
    for row in spec.rows:
        target = project.preset.targets[row.target] if row.target else None
        layers = target.num_hidden_layers if target else None
        published = None
        if spec.published and row.published_method and row.published_layers:
            file = spec.published.removesuffix(".csv")
            published = published_row(file, row.published_method, row.published_layers)
        label = row.label if target else project.preset.source.label
        found = [results[run] for run in row.runs]
        rows.append(ScoredRow(row, label, layers or source_layers, published, found))
    return rows
