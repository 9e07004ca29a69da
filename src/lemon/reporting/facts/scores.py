"""The tidy form of an accuracy table: one line per row of the table and score.

Accuracies are percent. Lines of a row: its tasks in the table's order, `average` (their
unweighted mean), `heldout` (`loss` in nats per token, and `perplexity`), and, where something
learned, `learning` (`steps` and training `tokens`, those of its start included).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS
from lemon.published.tables import AVERAGE, PublishedRow
from lemon.reporting.facts.costs import RowCost
from lemon.reporting.facts.outcomes import perplexity
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.statistics import (
    Interval,
    accuracy_interval,
    mean_interval,
    paired_difference,
    seed_spread,
)

HELDOUT, LEARNING = "heldout", "learning"
NOT_RUN, UNCLAIMED, TIED = "not yet run", "-", "tied"
SAME_ORDER, OPPOSITE_ORDER = "same order as paper", "opposite order"

COLUMNS = [
    *("run", "method", "layers", "task", "metric", "value", "ci_low", "ci_high", "n", "seeds"),
    *("published", "delta", "verdict"),  # up to here: the public contract
    *("seed_sd", "published_recomputed", "published_method", "published_layers"),
    *("target", "in_paper"),
]


def tidy_table(
    project: Project, table: str, rows: list[ScoredRow], costs: list[RowCost]
) -> pd.DataFrame:
    """The table in tidy form, columns `COLUMNS`; empty cells are missing values."""
    spec = project.table(table)
    tasks = tuple(spec.tasks)
    cost_of = {cost.runs: cost for cost in costs}
    lines: list[dict[str, Any]] = []
    for row in rows:
        reference = _reference(row, rows, spec.reference)
        shared = {
            "run": " ".join(row.spec.runs),
            "method": row.label,
            "layers": row.layers,
            "seeds": len(row.results),
            "published_method": row.spec.published_method,
            "published_layers": row.spec.published_layers,
            "target": row.spec.target,
            "in_paper": "false" if row.spec.ours else "true",
        }
        lines += [{**shared, **line} for line in _accuracy_lines(row, reference, tasks)]
        lines += [{**shared, **line} for line in _heldout_lines(row)]
        lines += [{**shared, **line} for line in _learning_lines(cost_of.get(row.spec.runs))]
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype({name: "Int64" for name in ("layers", "n", "seeds", "published_layers")})


def _reference(row: ScoredRow, rows: list[ScoredRow], labels: tuple[str, ...]) -> ScoredRow | None:
    """The reference row of the same sizes; None for itself and for the source."""
    for other in rows:
        if other.spec.target == row.spec.target and other.spec.label in labels:
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
    """Loss and perplexity on held-out text; over seeds, the losses are averaged."""
    if row.results and row.loss is None:
        return []
    lines = []
    for metric in ("loss", "perplexity"):
        line: dict[str, Any] = {"task": HELDOUT, "metric": metric, "verdict": NOT_RUN}
        if row.loss is not None:
            exp = float(f"{perplexity(row.loss):.6g}")
            line |= {
                "value": round(row.loss, 6) if metric == "loss" else exp,
                "n": row.results[0].heldout_tokens,
                "seed_sd": _rounded(seed_spread(row.losses)) if metric == "loss" else None,
                "verdict": UNCLAIMED,
            }
        lines.append(line)
    return lines


def _learning_lines(cost: RowCost | None) -> list[dict[str, Any]]:
    """What learning took, in numbers that a repeat gives again; time is none of them."""
    if cost is None:
        return []
    values = {"steps": cost.total.steps, "tokens": cost.total.tokens}
    return [
        {"task": LEARNING, "metric": metric, "value": value, "verdict": UNCLAIMED}
        for metric, value in values.items()
    ]


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
    return _rounded(row.average_over(tasks)), _rounded(row.mean_over(tasks))


def _verdict(row: ScoredRow, reference: ScoredRow | None, name: str, tasks: tuple[str, ...]) -> str:
    """Whether the row stands to the reference of the same sizes as it does in the paper."""
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
