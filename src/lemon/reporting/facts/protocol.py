"""The evaluation protocol of each task, from the manifests of the evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lemon.configuration.tasks import TASKS
from lemon.reporting.facts.outcomes import RunResult


@dataclass(frozen=True)
class Protocol:
    """Few-shot examples and rows of a task.

    Attributes:
        shots: number of examples before each question.
        asked: number of examples in the paper.
        drawn: whether examples are drawn for each question instead of the same for all.
        rows: scored documents.
        available: documents of the split; None if the manifest lacks it.
    """

    task: str
    shots: int
    asked: int
    drawn: bool
    rows: int
    available: int | None

    @property
    def chosen(self) -> str:
        """How the examples are chosen: `fixed` or `drawn`."""
        return "drawn" if self.drawn else "fixed"

    @property
    def cut_short(self) -> bool:
        """Whether there are fewer examples than in the paper."""
        return self.shots < self.asked

    @property
    def is_whole(self) -> bool:
        """Whether every document of the split was scored."""
        return self.rows == self.available


def protocols(results: Mapping[str, RunResult], tasks: Iterable[str]) -> dict[str, Protocol]:
    """The protocols by task, from the first result: those of one table share their protocol."""
    if not results:
        return {}
    first = next(iter(results.values()))
    found = {}
    for task in tasks:
        said = first.manifest.get("tasks", {}).get(task, {})
        asked = said.get("shots_asked", TASKS[task].shots)
        found[task] = Protocol(
            task=task,
            shots=said.get("shots", asked),
            asked=asked,
            drawn=said.get("fewshot") == "drawn",
            rows=first.correct[task].size,
            available=said.get("rows_available"),
        )
    return found


def shots_in_words(found: Mapping[str, Protocol]) -> str:
    """`ARC-C 25, BoolQ 11 of 32`; empty if no task has examples."""
    return ", ".join(
        f"{TASKS[task].label} {one.shots}" + (f" of {one.asked}" if one.cut_short else "")
        for task, one in found.items()
        if one.asked
    )
