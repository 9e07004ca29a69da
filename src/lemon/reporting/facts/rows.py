"""The rows of an accuracy table: results of their runs, scores, and published rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lemon.configuration.paper import TableRow
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS
from lemon.published.tables import AVERAGE, PublishedRow, published_row
from lemon.reporting.facts.heldout import HeldoutLosses
from lemon.reporting.facts.outcomes import RunResult
from lemon.reporting.facts.scores import (
    BITS,
    CALIBRATED_LOSS,
    HELDOUT,
    HELDOUT_METRICS,
    LOSS,
    SHARE,
    ByTask,
    Score,
    as_perplexity,
    ends,
    rounded,
    six_digits,
)
from lemon.reporting.facts.statistics import (
    Design,
    Interval,
    accuracy_interval,
    mean_interval,
    mean_over_strata,
    seed_spread,
)


@dataclass(frozen=True)
class ScoredRow:
    """A row of a table with its results.

    Attributes:
        spec: the row of `paper.yaml`.
        label: its name; for the source's row the model's name.
        layers: those of its target, by which rows are compared.
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

    @property
    def model_layers(self) -> int:
        """The layers of its model, which with tied FFNs are more than its target's."""
        return self.runs[0].target_shape.num_hidden_layers if self.runs else self.layers

    def over_seeds(self, name: str) -> ByTask:
        """By task or domain, an attribute of the results, averaged over the seeds."""
        by_seed = [found for result in self.results if (found := getattr(result, name))]
        strata = by_seed[0] if by_seed else ()
        return {one: np.mean([seed[one] for seed in by_seed], axis=0) for one in strata}

    @property
    def heldouts(self) -> list[HeldoutLosses]:
        """The held-out losses of the seeds; empty if not measured."""
        return [result.heldout for result in self.results if result.heldout is not None]

    @property
    def heldout_design(self) -> Design:
        """The shares of the domains, and the documents of the held-out sequences."""
        return self.heldouts[0].design if self.heldouts else Design()

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores by task, then the mean over tasks."""
        chosen = {**{task: (task,) for task in self.tasks}, AVERAGE: self.tasks}
        return {name: self._score(name, tasks) for name, tasks in chosen.items()}

    @cached_property
    def continuous_scores(self) -> list[Score]:
        """Answer bits per byte and answer share, by task and as means over tasks."""
        found = []
        for metric, field, scale, tasks in (
            (BITS, "bits_per_byte", 1, self.tasks),
            (SHARE, "answer_share", 100, [t for t in self.tasks if TASKS[t].chance is not None]),
        ):
            chosen = {**{task: [task] for task in tasks}, AVERAGE: tasks} if tasks else {}
            found += [self._mean(name, metric, field, own, scale) for name, own in chosen.items()]
        return found

    @property
    def mean_bits(self) -> Score:
        """Answer bits per byte as the mean over tasks."""
        found = {(score.task, score.metric): score for score in self.continuous_scores}
        return found[AVERAGE, BITS]

    @cached_property
    def calibrated(self) -> Score:
        """The held-out loss at each seed's best temperature."""
        return self._loss(CALIBRATED_LOSS)

    @cached_property
    def heldout(self) -> list[Score]:
        """The scores on held-out text, `HELDOUT_METRICS`; empty if the runs did not measure them.

        A temperature is the geometric mean over the seeds.
        """
        if not self.heldouts:
            return [] if self.results else [Score(HELDOUT, metric) for metric in HELDOUT_METRICS]
        loss, calibrated = self._loss(LOSS), self.calibrated
        logarithms = [math.log(heldout.temperature) for heldout in self.heldouts]
        temperature = math.exp(sum(logarithms) / len(logarithms))
        return [
            loss,
            as_perplexity(loss, "perplexity"),
            as_perplexity(calibrated, "calibrated_perplexity"),
            Score(HELDOUT, "temperature", six_digits(temperature), n=loss.n),
        ]

    @cached_property
    def columns(self) -> list[Score]:
        """The scores of a table's columns: tasks, means, and the held-out losses."""
        return [*self.scores.values(), self.mean_bits, self._loss(LOSS), self.calibrated]

    def _loss(self, metric: str) -> Score:
        """`LOSS` or `CALIBRATED_LOSS`."""
        if not self.heldouts:
            return Score(HELDOUT, metric)
        by_seed = [getattr(heldout, metric) for heldout in self.heldouts]
        calibrated = metric == CALIBRATED_LOSS
        sequences = self.over_seeds("calibrated_sequences" if calibrated else "sequences")
        low, high = ends(mean_interval(sequences, self.heldout_design))
        return Score(
            *(HELDOUT, metric, round(sum(by_seed) / len(by_seed), 6), low, high),
            n=self.heldouts[0].tokens,
            seed_sd=rounded(seed_spread(by_seed)),
        )

    def published_value(self, name: str) -> float | None:
        """The printed score of a task, or the printed mean.

        If this table's tasks differ from the paper's, the mean is over this table's tasks.
        """
        if self.published is None:
            return None
        if name != AVERAGE:
            return self.published.scores.get(name)
        return rounded(self.published.average_over(self.tasks))

    def _score(self, name: str, tasks: tuple[str, ...]) -> Score:
        metric = "mean" if name == AVERAGE else TASKS[name].metric
        published, recomputed = self.published_value(name), None
        if self.published is not None and name == AVERAGE:
            recomputed = rounded(self.published.mean_over(tasks))
        printed: dict[str, Any] = {"published": published, "published_recomputed": recomputed}
        correct = self.over_seeds("correct")
        single = accuracy_interval(correct[name]) if name in correct else None
        score = self._mean(name, metric, "correct", tasks, 100, single)
        if published is not None and score.value is not None:
            mean = mean_over_strata({task: correct[task] for task in tasks})
            printed["delta"] = round(100 * mean - published, 4)
        return replace(score, **printed)

    def _mean(
        self,
        name: str,
        metric: str,
        field: str,
        tasks: Iterable[str],
        scale: float,
        interval: Interval | None = None,
    ) -> Score:
        """The mean over tasks of the means over documents of an attribute of the results.

        `interval` is that of the mean, by default the bootstrap's.
        """
        if not self.results:
            return Score(name, metric)
        over_seeds, by_seed = self.over_seeds(field), (getattr(one, field) for one in self.results)
        documents = {task: over_seeds[task] for task in tasks}
        low, high = ends(interval or mean_interval(documents), scale)
        means = [mean_over_strata({task: seed[task] for task in tasks}) for seed in by_seed]
        return Score(
            *(name, metric, round(scale * mean_over_strata(documents), 4), low, high),
            n=sum(values.size for values in documents.values()),
            seed_sd=rounded(seed_spread([scale * mean for mean in means])),
        )


@dataclass(frozen=True)
class Side:
    """A side of a comparison: a row, or with a second how much it beats that, by document."""

    first: ScoredRow
    second: ScoredRow | None = None

    @property
    def rows(self) -> list[ScoredRow]:
        """The rows behind it."""
        return [self.first, self.second] if self.second else [self.first]

    @property
    def label(self) -> str:
        """The name of the row; of two both names and the depth."""
        if self.second is None:
            return self.first.label
        return f"{self.first.label} over {self.second.label} at {self.first.layers} layers"

    @property
    def published(self) -> float | None:
        """The printed mean of the row; of two rows the difference."""
        rows = ((row.published, row.tasks) for row in self.rows)
        means = [printed.average_over(tasks) if printed else None for printed, tasks in rows]
        return difference_of(*means) if self.second else means[0]

    def over_seeds(self, name: str) -> ByTask:
        """As of a row; of two rows the differences."""
        scores = self.first.over_seeds(name)
        if self.second is None:
            return scores
        less = self.second.over_seeds(name)
        return {one: scores[one] - less[one] for one in scores if one in less}


def difference_of(first: float | None, second: float | None) -> float | None:
    """The difference of two printed means, to four decimals; None if one of them is."""
    return None if first is None or second is None else round(first - second, 4)


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
