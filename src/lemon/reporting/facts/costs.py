"""Training costs: steps, tokens and time, including those of the runs that a run builds on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.reporting.facts.rows import ScoredRow


@dataclass(frozen=True)
class Cost:
    """Optimiser steps, training tokens, and seconds of the training loop."""

    steps: float = 0
    tokens: float = 0
    seconds: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.steps + other.steps, self.tokens + other.tokens, self.seconds + other.seconds
        )


@dataclass(frozen=True)
class RowCost:
    """The training cost of a row; means over its seeds.

    Attributes:
        start: the start of the runs: the label of a row, or a method; for the second of two stages
            also the first.
        own: the cost of the runs themselves; zero if only their start was learned.
        total: including their starts and first stages.
    """

    label: str
    layers: int
    runs: tuple[str, ...]
    start: str
    own: Cost
    total: Cost


def own_cost(run: PlannedRun, runs: Path) -> Cost:
    """The cost of a run itself, from the last event of its metrics.jsonl; zero without training.

    Raises:
        BadInput: the run trains and has no metrics, or they do not reach its last step.
    """
    if not run.method.learned:
        return Cost()
    path = runs / run.id / "metrics.jsonl"
    events = read_events(path)
    if not events:
        raise BadInput(f"{path}: holds no events of learning; remove the run's folder, rerun")
    last = events[-1]
    if last["step"] != run.steps:
        raise BadInput(
            f"{path}: ends after step {last['step']}, and {run.id} has {run.steps} steps in this "
            "preset; rerun it"
        )
    return Cost(last["step"], last["tokens"], last["wall_s"])


def total_cost(run: PlannedRun, runs: Path) -> Cost:
    """The cost of a run and all runs that it builds on: its start, its first stage, and theirs."""
    return sum((own_cost(earlier, runs) for earlier in lineage([run])), Cost())


def row_costs(rows: list[ScoredRow], runs: Path) -> list[RowCost]:
    """The cost of every row in which something is learned, in the order of the rows."""
    label_of = {run: row.label for row in rows for run in row.spec.runs}
    costs = [
        RowCost(
            label=row.label,
            layers=row.model_layers,
            runs=tuple(row.spec.runs),
            start=", ".join(dict.fromkeys(_start_in_words(run, label_of) for run in row.runs)),
            own=_mean([own_cost(run, runs) for run in row.runs]),
            total=_mean([total_cost(run, runs) for run in row.runs]),
        )
        for row in rows
    ]
    return [cost for cost in costs if cost.total.steps]


def _start_in_words(run: PlannedRun, label_of: dict[str, str]) -> str:
    start, first = run.row.start or "", run.first_stage
    stage = f"on the model of {label_of.get(first.id, first.id)}" if first else ""
    return ", ".join(filter(None, (label_of.get(start, start), stage)))


def _mean(costs: list[Cost]) -> Cost:
    summed, count = sum(costs, Cost()), max(1, len(costs))
    return Cost(*(value / count for value in vars(summed).values()))
