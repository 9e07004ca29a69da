"""How each task was put to the models, as the manifests of their evaluations say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lemon.configuration.tasks import TASKS
from lemon.reporting.facts.outcomes import RunResult


@dataclass(frozen=True)
class Protocol:
    """Examples and rows of a task.

    Attributes:
        shots: examples before each question.
        asked: how many the paper has.
        drawn: whether other ones are drawn for each question, or the same before all.
        rows: documents that were scored.
        available: documents of the split; None where the manifest does not say.
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
        """Whether fewer examples were shown than the paper shows."""
        return self.shots < self.asked

    @property
    def is_whole(self) -> bool:
        """Whether every document of the split was scored."""
        return self.rows == self.available


def protocols(results: Mapping[str, RunResult], tasks: Iterable[str]) -> dict[str, Protocol]:
    """By task; the results are those of one table, which share their protocol."""
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
    """`ARC-C 25, BoolQ 11 of 32`; empty where no task shows examples."""
    return ", ".join(
        f"{TASKS[task].label} {one.shots}" + (f" of {one.asked}" if one.cut_short else "")
        for task, one in found.items()
        if one.asked
    )
