"""The rows of an accuracy table: results of their runs, scores, and published rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lemon.configuration.paper import TableRow
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS
from lemon.perplexity import perplexity_of
from lemon.published.tables import AVERAGE, PublishedRow, published_row
from lemon.reporting.facts.outcomes import RunResult
from lemon.reporting.facts.statistics import accuracy_interval, mean_interval, seed_spread

HELDOUT = "heldout"


@dataclass(frozen=True)
class Score:
    """A score of a row, with the CSV's column names; accuracies are percent.

    Attributes:
        task: the lm-eval task, `average` for the unweighted mean over tasks, or `heldout`.
        metric: a task's metric; `mean`; or `loss` in nats per token and `perplexity`.
        value: None if the row was not run.
        ci_low, ci_high: the 95 % interval over documents.
        n: documents, or predicted tokens of the held-out text.
        seed_sd: the sample standard deviation over seeds; None for a single seed.
        published_recomputed: for the average, the mean of the printed cells.
        delta: value minus published.
    """

    task: str
    metric: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    seed_sd: float | None = None
    published: float | None = None
    published_recomputed: float | None = None
    delta: float | None = None


@dataclass(frozen=True)
class ScoredRow:
    """A row of a table with its results.

    Attributes:
        spec: the row of `paper.yaml`.
        label: its name; for the source's row the model's name.
        runs: one for each seed; empty if the row was not run.
        published: the paper's row.
    """

    spec: TableRow
    label: str
    layers: int
    tasks: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    results: tuple[RunResult, ...]
    published: PublishedRow | None

    @cached_property
    def answers(self) -> dict[str, NDArray[np.float64]]:
        """By task, the score of each document averaged over the seeds, [documents]."""
        return {
            task: np.mean([result.correct[task] for result in self.results], axis=0)
            for task in (self.tasks if self.results else ())
        }

    @property
    def losses(self) -> list[float]:
        """The held-out losses of the seeds, nats per token; empty if not measured."""
        return [result.loss for result in self.results if result.loss is not None]

    @property
    def loss(self) -> float | None:
        """The mean loss. Its exp is the geometric mean perplexity, robust to a bad seed."""
        return sum(self.losses) / len(self.losses) if self.losses else None

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores by task, then the mean over tasks."""
        chosen = {**{task: (task,) for task in self.tasks}, AVERAGE: self.tasks}
        return {name: self._score(name, tasks) for name, tasks in chosen.items()}

    @property
    def heldout(self) -> list[Score]:
        """Loss and perplexity on held-out text; empty if the runs did not measure them."""
        if self.loss is None:
            return [] if self.results else [Score(HELDOUT, m) for m in ("loss", "perplexity")]
        n, seed_sd = self.results[0].heldout_tokens, _rounded(seed_spread(self.losses))
        exp = float(f"{perplexity_of(self.loss):.6g}")
        loss = Score(HELDOUT, "loss", round(self.loss, 6), n=n, seed_sd=seed_sd)
        return [loss, Score(HELDOUT, "perplexity", exp, n=n)]

    @property
    def columns(self) -> list[Score]:
        """The scores of a table's columns: tasks, mean, and the held-out loss."""
        loss = self.heldout[0] if self.heldout else Score(HELDOUT, "loss")
        return [*self.scores.values(), loss]

    def published_value(self, name: str) -> float | None:
        """The printed score of a task, or the printed mean.

        If this table's tasks differ from the paper's, the mean is over this table's tasks.
        """
        if self.published is None:
            return None
        if name != AVERAGE:
            return self.published.scores.get(name)
        return _rounded(self.published.average_over(self.tasks))

    def _score(self, name: str, tasks: tuple[str, ...]) -> Score:
        metric = "mean" if name == AVERAGE else TASKS[name].metric
        published, recomputed = self.published_value(name), None
        if self.published is not None and name == AVERAGE:
            recomputed = _rounded(self.published.mean_over(tasks))
        score = Score(name, metric, published=published, published_recomputed=recomputed)
        if not self.results:
            return score
        answers = {task: self.answers[task] for task in tasks}
        value = 100 * float(np.mean([values.mean() for values in answers.values()]))
        interval = mean_interval(answers) if name == AVERAGE else accuracy_interval(answers[name])
        shares = [[result.accuracy(task) for task in tasks] for result in self.results]
        by_seed = [100 * float(np.mean(seed)) for seed in shares]
        return replace(
            score,
            value=round(value, 4),
            ci_low=round(100 * interval.low, 4),
            ci_high=round(100 * interval.high, 4),
            n=sum(values.size for values in answers.values()),
            seed_sd=_rounded(seed_spread(by_seed)),
            delta=None if published is None else round(value - published, 4),
        )


def scored_rows(project: Project, table: str, results: dict[str, RunResult]) -> list[ScoredRow]:
    """Combine every row of a table with its runs' results and its published row.

    Raises:
        BadInput: the published table lacks a row of the registry.
    """
    spec = project.table(table)
    rows = []
    for row in spec.rows:
        label, shape = project.preset.source.label, project.source_shape()
        if row.target:
            label, shape = row.label, project.shape_of(row.target)
        published = None
        if spec.published and row.published_method and row.published_layers:
            published = published_row(spec.published, row.published_method, row.published_layers)
        runs = tuple(project.run(run) for run in row.runs)
        found = tuple(results[run] for run in row.runs)
        layers, tasks = shape.num_hidden_layers, tuple(spec.tasks)
        rows.append(ScoredRow(row, label, layers, tasks, runs, found, published))
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
