"""What learning took: steps, tokens and time, those of the runs that stand behind it included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.project import Project, lineage
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.reporting.facts.rows import ScoredRow


@dataclass(frozen=True)
class Cost:
    """Optimiser steps, training tokens, and seconds of the learning loop."""

    steps: float = 0
    tokens: float = 0
    seconds: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.steps + other.steps, self.tokens + other.tokens, self.seconds + other.seconds
        )


@dataclass(frozen=True)
class RowCost:
    """What the runs of a row took to learn; means over its seeds.

    Attributes:
        label, layers: of the row.
        runs: its ids.
        start: what the runs start from: the label of a row, or a method; and the first of two
            stages, where they are the second.
        own: the cost of the runs themselves; nothing where only their start learned.
        total: with everything that they start from, and with their first stage.
    """

    label: str
    layers: int
    runs: tuple[str, ...]
    start: str
    own: Cost
    total: Cost


def own_cost(project: Project, run_id: str, runs: Path) -> Cost:
    """What a run itself took, from the last event of its metrics.jsonl; nothing if it learns not.

    Args:
        runs: the folder that holds one folder a run.

    Raises:
        BadInput: the run learns and has no metrics, or they do not reach its last step.
    """
    if not project.run(run_id).method.learned:
        return Cost()
    path = runs / run_id / "metrics.jsonl"
    events = read_events(path)
    if not events:
        raise BadInput(f"{path}: holds no events of learning; remove the run's folder, rerun")
    last, steps = events[-1], project.steps(run_id)
    if last["step"] != steps:
        raise BadInput(
            f"{path}: ends after step {last['step']}, and {run_id} has {steps} steps in this "
            "preset; rerun it"
        )
    return Cost(last["step"], last["tokens"], last["wall_s"])


def total_cost(project: Project, run_id: str, runs: Path) -> Cost:
    """What a run took with the runs that it starts from and its first stage, and so on.

    Raises:
        BadInput: as `own_cost`.
    """
    return sum((own_cost(project, run, runs) for run in lineage(project, [run_id])), Cost())


def row_costs(project: Project, rows: list[ScoredRow], runs: Path) -> list[RowCost]:
    """The cost of every row in which something learned, in the order of the rows.

    Raises:
        BadInput: as `own_cost`.
    """
    label_of = {run: row.label for row in rows for run in row.spec.runs}
    found = []
    for row in rows:
        ids = row.spec.runs
        total = _mean([total_cost(project, run, runs) for run in ids])
        if not total.steps:
            continue
        starts = [_start_in_words(project, run, label_of) for run in ids]
        found.append(
            RowCost(
                label=row.label,
                layers=row.layers,
                runs=ids,
                start=", ".join(dict.fromkeys(starts)),
                own=_mean([own_cost(project, run, runs) for run in ids]),
                total=total,
            )
        )
    return found


def _start_in_words(project: Project, run_id: str, label_of: dict[str, str]) -> str:
    start, first = project.run(run_id).row.start or "", project.first_stage(run_id)
    words = label_of.get(start, start)
    stage = f"on the model of {label_of.get(first, first)}" if first else ""
    return ", ".join(filter(None, (words, stage)))


def _mean(costs: list[Cost]) -> Cost:
    summed, count = sum(costs, Cost()), max(1, len(costs))
    return Cost(summed.steps / count, summed.tokens / count, summed.seconds / count)
