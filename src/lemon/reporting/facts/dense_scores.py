"""The source model alone, task by task: its scores, and what is published of it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS, mean_chance
from lemon.published.tables import AVERAGE, published_table
from lemon.reporting.facts.outcomes import RunResult
from lemon.reporting.facts.protocol import Protocol
from lemon.reporting.facts.scores import UNCLAIMED
from lemon.reporting.facts.statistics import Interval, mean_interval, wilson_interval

COLUMNS = [
    *("run", "method", "layers", "task", "metric", "value", "ci_low", "ci_high", "n", "seeds"),
    *("published", "delta", "verdict", "shots", "shots_asked", "rows_available", "guessing"),
    *("protocol", "source"),
]


@dataclass(frozen=True)
class DenseScore:
    """A score of the source model, or the mean over some tasks; percent.

    Attributes:
        tasks: those that it is the mean of, one for a task's own score.
        metric: of a single task; `mean` for several.
        interval: Wilson's for one task, the bootstrap within each task for several.
        chance: the score of guessing; None where a task offers no choices.
    """

    tasks: tuple[str, ...]
    metric: str
    value: float
    interval: Interval
    rows: int
    chance: float | None

    @property
    def name(self) -> str:
        """The tasks as tables print them."""
        return " and ".join(TASKS[task].label for task in self.tasks)


@dataclass(frozen=True)
class PublishedScore:
    """A score of the same model, or of the one that it was tuned from, by its authors.

    Attributes:
        model: whose score it is.
        tasks: ours that come nearest to what was scored; several where it is their average.
        name: of the benchmark, as printed.
        shots, protocol, source: how it was measured and where it stands.
    """

    model: str
    tasks: tuple[str, ...]
    name: str
    shots: int
    protocol: str
    value: float
    source: str


def dense_score(result: RunResult, tasks: tuple[str, ...]) -> DenseScore:
    """The score on one task, or the unweighted mean over several."""
    correct = {task: result.correct[task] for task in tasks}
    value = float(np.mean([answers.mean() for answers in correct.values()]))
    rows = sum(answers.size for answers in correct.values())
    if len(tasks) == 1:
        interval = wilson_interval(int(correct[tasks[0]].sum()), rows)
    else:
        interval = mean_interval(correct)
    percent = Interval(100 * interval.low, 100 * interval.high)
    metric = TASKS[tasks[0]].metric if len(tasks) == 1 else "mean"
    return DenseScore(tasks, metric, 100 * value, percent, rows, mean_chance(tasks))


def published_scores(file: str, label: str, tasks: tuple[str, ...]) -> list[PublishedScore]:
    """What `published/<file>` has of the source model and its kin, on these tasks.

    Args:
        file: name of the CSV file.
        label: the source model's; without a line of its own nothing in the file is about it.
        tasks: those of the table.
    """
    found = [
        PublishedScore(
            model=line["model"],
            tasks=tuple(line["tasks"].split()),
            name=line["name"],
            shots=int(line["shots"]),
            protocol=line["protocol"],
            value=float(line["value"]),
            source=line["source"],
        )
        for line in published_table(file.removesuffix(".csv"))
    ]
    if label not in {score.model for score in found}:
        return []
    return [score for score in found if set(score.tasks) <= set(tasks)]


def dense_frame(
    project: Project,
    result: RunResult,
    scores: list[DenseScore],
    published: list[PublishedScore],
    shown: Mapping[str, Protocol],
) -> pd.DataFrame:
    """The tidy form, columns `COLUMNS`: a line for each score here, then for each published one."""
    lines: list[dict[str, Any]] = []
    for score in scores:
        lines.append(
            {
                "run": result.run,
                "method": project.preset.source.label,
                "layers": project.source_shape().num_hidden_layers,
                "task": AVERAGE if len(score.tasks) > 1 else score.tasks[0],
                "metric": score.metric,
                "value": round(score.value, 4),
                "ci_low": round(score.interval.low, 4),
                "ci_high": round(score.interval.high, 4),
                "n": score.rows,
                "seeds": 1,
                "verdict": UNCLAIMED,
                "guessing": score.chance,
                **(_protocol_cells(shown[score.tasks[0]]) if len(score.tasks) == 1 else {}),
            }
        )
    for known in published:
        lines.append(
            {
                "method": known.model,
                "task": " ".join(known.tasks),
                "metric": known.name,
                "published": known.value,
                "verdict": UNCLAIMED,
                "shots": known.shots,
                "protocol": known.protocol,
                "source": known.source,
            }
        )
    frame = pd.DataFrame(lines, columns=COLUMNS)
    whole = ("layers", "n", "seeds", "shots", "shots_asked", "rows_available")
    return frame.astype({name: "Int64" for name in whole})


def _protocol_cells(shown: Protocol) -> dict[str, Any]:
    return {
        "shots": shown.shots,
        "shots_asked": shown.asked,
        "rows_available": shown.available,
        "protocol": "lm-eval" + (f", {shown.chosen}" if shown.asked else ""),
    }
