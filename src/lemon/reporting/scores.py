"""The tidy form of an accuracy table: one line per row of the table and score.

Accuracies are percent. Lines of a row: its tasks in the table's order, `average` (their
unweighted mean), and `heldout` (`loss` in nats per token, and `perplexity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lemon.presets import Project
from lemon.registry import TASKS, TableRow
from lemon.reporting.published import AVERAGE, PublishedRow, published_row
from lemon.reporting.results import RunResult, perplexity
from lemon.reporting.statistics import (
    Interval,
    accuracy_interval,
    mean_interval,
    paired_difference,
    seed_spread,
)

HELDOUT = "heldout"
REFERENCE_METHOD = "Cut"  # every other method of a depth is ordered against it
NOT_RUN, UNCLAIMED, TIED = "not yet run", "-", "tied"
SAME_ORDER, OPPOSITE_ORDER = "same order as paper", "opposite order"

COLUMNS = [
    *("run", "method", "layers", "task", "metric", "value", "ci_low", "ci_high", "n", "seeds"),
    *("published", "delta", "verdict"),  # up to here: the public contract
    *("seed_sd", "published_recomputed", "published_layers", "target"),
]


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


def scored_rows(project: Project, table: str, results: dict[str, RunResult]) -> list[ScoredRow]:
    """Pair every row of a table with its runs' results and its published row.

    Raises:
        BadInput: the published table lacks a row that the registry names.
    """
    spec = project.table(table)
    source_layers = project.source_shape().num_hidden_layers
    file = spec.published.removesuffix(".csv")
    rows = []
    for row in spec.rows:
        target = project.preset.targets[row.target] if row.target else None
        layers = target.num_hidden_layers if target else None
        published = None
        if row.published_method and row.published_layers:
            published = published_row(file, row.published_method, row.published_layers)
        label = row.label if target else project.preset.source.label
        found = [results[run] for run in row.runs]
        rows.append(ScoredRow(row, label, layers or source_layers, published, found))
    return rows


def tidy_table(project: Project, table: str, results: dict[str, RunResult]) -> pd.DataFrame:
    """The table in tidy form, columns `COLUMNS`; empty cells are missing values."""
    tasks = tuple(project.table(table).tasks)
    rows = scored_rows(project, table, results)
    lines: list[dict[str, Any]] = []
    for row in rows:
        reference = _reference(row, rows)
        shared = {
            "run": " ".join(row.spec.runs),
            "method": row.label,
            "layers": row.layers,
            "seeds": len(row.results),
            "published_layers": row.spec.published_layers,
            "target": row.spec.target,
        }
        lines += [{**shared, **line} for line in _accuracy_lines(row, reference, tasks)]
        lines += [{**shared, **line} for line in _heldout_lines(row)]
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype({name: "Int64" for name in ("layers", "n", "seeds", "published_layers")})


def _reference(row: ScoredRow, rows: list[ScoredRow]) -> ScoredRow | None:
    """The Cut row of the same depth; None for itself and for the source."""
    for other in rows:
        if other.spec.target == row.spec.target and other.spec.label == REFERENCE_METHOD:
            return None if other is row else other
    return None


def _accuracy_lines(
    row: ScoredRow, reference: ScoredRow | None, tasks: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The lines of the tasks and of their mean."""
    scores = row.document_scores(tasks) if row.results else {}
    lines = []
    for name, chosen in [*((task, (task,)) for task in tasks), (AVERAGE, tasks)]:
        published, recomputed = _published_value(row.published, name, tasks)
        line: dict[str, Any] = {
            "task": name,
            "metric": "mean" if name == AVERAGE else TASKS[name].metric,
            "published": published,
            "published_recomputed": recomputed,
            "verdict": NOT_RUN,
        }
        if row.results:
            chosen_scores = {task: scores[task] for task in chosen}
            value = 100 * float(np.mean([values.mean() for values in chosen_scores.values()]))
            interval = (
                mean_interval(chosen_scores) if name == AVERAGE else accuracy_interval(scores[name])
            )
            by_seed = [
                100 * float(np.mean([result.accuracy(task) for task in chosen]))
                for result in row.results
            ]
            line |= {
                "value": round(value, 4),
                "ci_low": round(100 * interval.low, 4),
                "ci_high": round(100 * interval.high, 4),
                "n": sum(values.size for values in chosen_scores.values()),
                "seed_sd": _rounded(seed_spread(by_seed)),
                "delta": None if published is None else round(value - published, 4),
                "verdict": _verdict(row, reference, name, chosen),
            }
        lines.append(line)
    return lines


def _heldout_lines(row: ScoredRow) -> list[dict[str, Any]]:
    """Loss and perplexity on held-out text; over seeds, the losses are averaged.

    The perplexity of several seeds is exp of their mean loss, so that one broken seed does not
    decide it; its spread is the loss's.
    """
    losses = [result.loss for result in row.results if result.loss is not None]
    if row.results and not losses:
        return []
    lines = []
    for metric in ("loss", "perplexity"):
        line: dict[str, Any] = {
            "task": HELDOUT,
            "metric": metric,
            "verdict": UNCLAIMED if losses else NOT_RUN,
        }
        if losses:
            mean = sum(losses) / len(losses)
            line["value"] = round(mean, 6) if metric == "loss" else float(f"{perplexity(mean):.6g}")
            line["n"] = row.results[0].heldout_tokens
            line["seed_sd"] = _rounded(seed_spread(losses)) if metric == "loss" else None
        lines.append(line)
    return lines


def _published_value(
    row: PublishedRow | None, name: str, tasks: tuple[str, ...]
) -> tuple[float | None, float | None]:
    """The printed value, and for the average also the mean of the printed cells.

    Where the table here has other tasks than the paper's, its average is that of these tasks.
    """
    if row is None:
        return None, None
    if name != AVERAGE:
        return row.scores.get(name), None
    recomputed = _rounded(row.mean_over(tasks))
    return (row.average if set(tasks) == set(row.scores) else recomputed), recomputed


def _verdict(row: ScoredRow, reference: ScoredRow | None, name: str, tasks: tuple[str, ...]) -> str:
    """Whether the row stands to Cut of the same depth as it does in the paper."""
    if reference is None or not reference.results:
        return UNCLAIMED
    ours, _ = _published_value(row.published, name, tasks)
    theirs, _ = _published_value(reference.published, name, tasks)
    if ours is None or theirs is None or ours == theirs:
        return UNCLAIMED
    difference, interval = paired_difference(
        row.document_scores(tasks), reference.document_scores(tasks)
    )
    return order_verdict(ours - theirs, difference, interval)


def order_verdict(published: float, difference: float, interval: Interval) -> str:
    """Compare the sign of a difference with the paper's; `TIED` where its sign is unresolved."""
    if not interval.excludes_zero():
        return TIED
    return SAME_ORDER if (published > 0) == (difference > 0) else OPPOSITE_ORDER


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
