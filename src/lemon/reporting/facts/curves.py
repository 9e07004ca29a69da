"""Curves over training: Figure 4 left (scores over tokens) and middle (perplexity over steps)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lemon.configuration.figure_specs import CurvesSpec
from lemon.configuration.paper import TableRow
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.perplexity import perplexity_of
from lemon.published.tables import AVERAGE, published_table
from lemon.reporting.facts.departures import learned_departures
from lemon.reporting.facts.figure import FigureFacts, ScoredFigureFacts, of_scores, shared_facts
from lemon.reporting.facts.heldout import tune_floor
from lemon.reporting.facts.outcomes import read_run, require_same_documents
from lemon.reporting.facts.rows import ScoredRow

PERPLEXITY = "tune/perplexity"
COLUMNS = ["curve", "run", "seed", "step", "tokens", "seconds", "perplexity"]
LEMON, SHEARED, PARITY, APART = "LEMON", "Sheared-LLaMA", "parity", "difference"  # in figure4.csv


@dataclass(frozen=True, kw_only=True)
class TuneCurveFacts(FigureFacts[CurvesSpec]):
    """Perplexity on the tune text over training.

    `frame` has a line for each measurement of a run, with `COLUMNS`.

    Attributes:
        quoted: the points that the paper quotes, (step, value) by curve.
        floor: perplexity of a unigram model on the tune text.
    """

    quoted: dict[str, tuple[int, float]]
    floor: float


def score_curve_facts(project: Project, figure: str, runs: Path, *_: object) -> ScoredFigureFacts:
    """Gather the scores of a figure's runs at their starts, snapshots and ends.

    `frame` has a line for each point of a curve: `curve`, `tokens`, `mean` (percent) and
    `bits_per_byte` with the ends of their 95 % intervals, `seeds`.

    Raises:
        BadInput: a model is not evaluated, or two were asked different documents.
    """
    spec = project.table(figure)
    tasks = tuple(spec.tasks)
    points = [point for row in spec.rows for point in _points(project, row, tasks, runs)]
    results = {result.run: result for _, row in points for result in row.results}
    require_same_documents(results, tasks)
    frame = pd.DataFrame([_line(tokens, row) for tokens, row in points])
    return ScoredFigureFacts(**of_scores(project, figure, results, runs), frame=frame)


def _points(
    project: Project, row: TableRow, tasks: tuple[str, ...], runs: Path
) -> list[tuple[int, ScoredRow]]:
    """The points of one curve, from its start on: tokens, and the row's models after them."""
    planned = tuple(project.run(run) for run in row.runs)
    by_tokens: dict[int, list[str]] = {}
    for run in planned:
        for model, tokens in run.earlier_models.items():
            by_tokens.setdefault(tokens, []).append(model)
        by_tokens.setdefault(run.steps * run.tokens_per_step, []).append(run.id)
    layers = project.shape_of(row.target).num_hidden_layers if row.target else 0

    def scored(models: list[str]) -> ScoredRow:
        results = tuple(read_run(runs, model, tasks) for model in models)
        return ScoredRow(row, row.label, layers, tasks, planned, results, None)

    return [(tokens, scored(models)) for tokens, models in sorted(by_tokens.items())]


def _line(tokens: int, row: ScoredRow) -> dict[str, Any]:
    return {
        "curve": row.label,
        "tokens": tokens,
        **row.scores[AVERAGE].named("mean", "mean_low", "mean_high"),
        **row.mean_bits.named("bits_per_byte", "bits_low", "bits_high"),
        "seeds": len(row.results),
    }


def tune_curve_facts(
    project: Project, figure: str, runs: Path, text: Path | None = None
) -> TuneCurveFacts:
    """Gather the perplexities that the figure's runs measured while they trained.

    Raises:
        BadInput: a run measured none, or `text`, the packed text that they trained on, is missing.
    """
    spec = project.entry(figure)
    assert isinstance(spec, CurvesSpec)
    if text is None:
        raise BadInput(f"{figure} shows the floor of its text; name the text's folder by --text")
    quoted = {
        line["curve"]: (int(line["step"]), float(line["value"]))
        for line in published_table("figure4")
    }
    steps = {"fusion_steps": str(quoted[LEMON][0]), "pruning_steps": str(quoted[SHEARED][0])}
    lines = [
        _measured(curve.label, project.run(run), runs)
        for curve in spec.curves
        for run in curve.runs
    ]
    metrics = {run: runs / run / "metrics.jsonl" for run in spec.runs}
    return TuneCurveFacts(
        **shared_facts(project, figure, metrics),
        frame=pd.concat(lines, ignore_index=True),
        departures=learned_departures(project, map(project.run, spec.runs), steps),
        quoted=quoted,
        floor=perplexity_of(tune_floor(text)),
    )


def _measured(curve: str, run: PlannedRun, runs: Path) -> pd.DataFrame:
    path = runs / run.id / "metrics.jsonl"
    found = [event for event in read_events(path) if event["name"] == PERPLEXITY]
    if len(found) < 2:
        raise BadInput(f"{path}: holds fewer than two of {PERPLEXITY}; run {run.id} again")
    lines = pd.DataFrame(found).rename(columns={"wall_s": "seconds", "value": "perplexity"})
    return lines.assign(curve=curve, run=run.id, seed=run.seed)[COLUMNS]
