"""Suites of evaluation: the tasks that one job scores a run on, on how many rows, and where to.

`ablation` holds the five zero-shot tasks of Tables 3, 4 and 7, with the held-out text; `main` the
other six of Table 2; `dense` all of them on more rows, for the source model alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lemon.configuration.methods import TASKS, TableSpec
from lemon.configuration.preset import EvaluationSettings

ABLATION, MAIN, DENSE = "ablation", "main", "dense"

# The folder of a suite's outcomes inside that of a run.
FOLDERS = {ABLATION: "outcomes", MAIN: "outcomes-main", DENSE: "outcomes-dense"}


@dataclass(frozen=True)
class Suite:
    """What one job scores.

    Attributes:
        name: a key of `FOLDERS`.
        tasks: of the preset, those that belong to it.
        limit: rows a task, the first ones; None takes all.
        limits: the same for single tasks of this suite, in place of `limit`.
    """

    name: str
    tasks: tuple[str, ...]
    limit: int | None
    limits: Mapping[str, int]

    @property
    def folder(self) -> str:
        """The folder of its outcomes inside that of a run."""
        return FOLDERS[self.name]

    @property
    def files(self) -> list[str]:
        """The files of its outcomes beside their manifest."""
        scores = [f"{task}.parquet" for task in self.tasks]
        return [*scores, "perplexity.json"] if self.has_heldout else scores

    @property
    def has_heldout(self) -> bool:
        """Whether the perplexity on held-out text is measured with it."""
        return self.name == ABLATION

    @property
    def has_fewshot(self) -> bool:
        """Whether any of its tasks shows examples before its questions."""
        return any(TASKS[task].shots for task in self.tasks)

    def limit_of(self, task: str) -> int | None:
        """The rows of one task; None takes all."""
        return self.limits.get(task, self.limit)


def suites(evaluation: EvaluationSettings) -> dict[str, Suite]:
    """The suites of a preset by name; those for which it has no task are left out."""
    found = {name: _suite(name, evaluation) for name in FOLDERS}
    return {name: suite for name, suite in found.items() if suite.tasks}


def _suite(name: str, evaluation: EvaluationSettings) -> Suite:
    settings = evaluation.dense if name == DENSE else evaluation
    tasks = tuple(task for task in evaluation.tasks if name == DENSE or name == task_suite(task))
    limits = {task: limit for task, limit in settings.limits.items() if task in tasks}
    return Suite(name, tasks, settings.limit, limits)


def task_suite(task: str) -> str | None:
    """The suite in which every run is scored on a task; None if there is no such task."""
    return TASKS[task].suite if task in TASKS else None


def table_suites(table: TableSpec) -> tuple[str, ...]:
    """The suites that the scores of a table are from."""
    if table.renderer == "dense_scores":
        return (DENSE,)
    found = {task_suite(task) for task in table.tasks}
    return tuple(name for name in FOLDERS if name in found)


def suite_of_folder(folder: str) -> str:
    """The suite whose outcomes lie in a folder of this name.

    Raises:
        KeyError: there is none.
    """
    return {own: name for name, own in FOLDERS.items()}[folder]
