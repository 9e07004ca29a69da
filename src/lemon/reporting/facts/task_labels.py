"""How tables and pictures name a task, and what guessing scores on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskLabel:
    """The printed name of a task, and the score of a random guess in percent (None: no choices)."""

    name: str
    chance: float | None = None


TASK_LABELS = {
    "sciq": TaskLabel("SciQ", 25.0),
    "piqa": TaskLabel("PIQA", 50.0),
    "winogrande": TaskLabel("WinoGrande", 50.0),
    "arc_easy": TaskLabel("ARC-E", 25.0),
    "arc_challenge": TaskLabel("ARC-C", 25.0),
    "hellaswag": TaskLabel("HellaSwag", 25.0),
    "logiqa": TaskLabel("LogiQA", 25.0),
    "boolq": TaskLabel("BoolQ", 50.0),
    "lambada_openai": TaskLabel("LAMBADA"),
    "nq_open": TaskLabel("NQ"),
    "mmlu": TaskLabel("MMLU", 25.0),
}


def task_label(task: str) -> TaskLabel:
    """The label of a task; its own name where it has none."""
    return TASK_LABELS.get(task, TaskLabel(task))


def mean_chance(tasks: tuple[str, ...]) -> float | None:
    """The mean score of guessing; None if one of the tasks offers no choices."""
    chances = [task_label(task).chance for task in tasks]
    known = [chance for chance in chances if chance is not None]
    return sum(known) / len(known) if known and len(known) == len(chances) else None
