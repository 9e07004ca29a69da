"""Figure 4 right: scores, operator size and step time by receptive field.

Paper, section 4.3 and figure 4, right panel: mean accuracy by r_a (attention) and r_i (FFN), the
dimension operators learned from Cut at full depth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.published.tables import AVERAGE
from lemon.radii import named_radii
from lemon.reporting.facts.figure import ScoredFigureFacts, of_scores
from lemon.reporting.facts.outcomes import read_runs
from lemon.reporting.facts.rows import ScoredRow, scored_rows
from lemon.reporting.facts.scores import BITS
from lemon.reporting.facts.setup import target_shapes

COLUMNS = [
    *("run", "method", "r_a", "r_i", "r_h", "mean", "ci_low", "ci_high", "perplexity"),
    *("calibrated_perplexity", BITS),
    *("operator_parameters", "operator_share"),
    *("seconds_per_step", "seconds_low", "seconds_high", "published", "seeds"),
]
TIMES = ("seconds_low", "seconds_per_step", "seconds_high")  # quartiles
WHOLE = ("r_a", "r_i", "r_h", "operator_parameters", "seeds")


@dataclass(frozen=True, kw_only=True)
class GridFacts(ScoredFigureFacts):
    """The figure; `frame` is that of `_lines`."""

    targets: dict[str, LlamaShape]


def grid_facts(project: Project, figure: str, runs: Path, *_: object) -> GridFacts:
    """Gather scores, operator sizes and step times of the figure's runs."""
    spec = project.table(figure)
    results = read_runs(runs, project.table_runs(figure), spec.tasks)
    return GridFacts(
        **of_scores(project, figure, results, runs),
        targets=target_shapes(project, spec),
        frame=_lines(figure, scored_rows(project, figure, results), runs),
    )


def paper_names(runs: Iterable[PlannedRun]) -> dict[str, dict[str, str]]:
    """For `r_a` and `r_i`, the paper's radius by ours, if they differ."""
    names: dict[str, dict[str, str]] = {"r_a": {}, "r_i": {}}
    for run in runs:
        theirs, ours = named_radii(run.row.radii), run.radii
        if theirs and theirs.attention != ours.attention:
            names["r_a"][str(ours.attention)] = str(theirs.attention)
        if theirs and theirs.ffn != ours.ffn:
            names["r_i"][str(ours.ffn)] = str(theirs.ffn)
    return names


def _lines(figure: str, rows: list[ScoredRow], runs: Path) -> pd.DataFrame:
    """The figure in tidy form, columns `COLUMNS`: one line for each row of `paper.yaml`.

    `run` has the run ids of all seeds. `mean` and its 95 % interval, `published` and
    `operator_share` are percent, the latter of the small model's parameters. `seconds_low`,
    `seconds_per_step` and `seconds_high` are the quartiles of the step time. Lines of runs that
    learn no dimension operators have no radii: they are baselines.

    Raises:
        BadInput: two rows have the same radii.
    """
    frame = pd.DataFrame([_line(row, runs) for row in rows], columns=COLUMNS)
    for (r_a, r_i), cell in frame.groupby(["r_a", "r_i"])["method"]:
        if len(cell) > 1:
            raise BadInput(
                f"paper.yaml, {figure}: rows {cell.iloc[0]!r} and {cell.iloc[1]!r} both have "
                f"r_a {r_a:g} and r_i {r_i:g}; the grid has one cell for them, so drop one or give "
                "it other radii in the preset"
            )
    return frame.astype({name: "Int64" for name in WHOLE})


def _line(row: ScoredRow, runs: Path) -> dict[str, Any]:
    line: dict[str, Any] = {
        "run": " ".join(row.spec.runs),
        "method": row.label,
        "published": row.published.average_over(row.tasks) if row.published else None,
        "seeds": len(row.results),
        **row.scores[AVERAGE].named("mean", "ci_low", "ci_high"),
    }
    line |= {score.metric: score.value for score in row.heldout if score.metric in COLUMNS}
    line[BITS] = row.mean_bits.value
    if row.runs:
        line |= _operators(row.runs[0])
        times = [time for run in row.runs for time in step_seconds(run, runs)]
        if times:
            quartiles = zip(TIMES, np.quantile(times, (0.25, 0.5, 0.75)), strict=True)
            line |= {name: float(f"{value:.4g}") for name, value in quartiles}
    return line


def _operators(run: PlannedRun) -> dict[str, Any]:
    """Radii and size of the dimension operators that a run learns; empty without any."""
    if run.row.radii is None or not run.method.learns_operators:
        return {}
    count = run.radii.parameters(run.fused_shape, run.target_shape)
    return {
        "r_a": run.radii.attention,
        "r_i": run.radii.ffn,
        "r_h": run.radii.hidden,
        "operator_parameters": count,
        "operator_share": round(100 * count / run.target_shape.num_parameters, 4),
    }


def step_seconds(run: PlannedRun, runs: Path) -> list[float]:
    """Seconds of each measured step; empty without training.

    Of a step that a resumed run repeated, the last time counts.

    Raises:
        BadInput: the run trains and its metrics.jsonl has no `train/tokens_per_s`.
    """
    if not run.method.learned:
        return []
    path = runs / run.id / "metrics.jsonl"
    rates = {
        event["step"]: event["value"]
        for event in read_events(path)
        if event["name"] == "train/tokens_per_s"
    }
    if not rates:
        raise BadInput(
            f"{path}: holds no train/tokens_per_s; remove the run's folder and run it again"
        )
    return [run.tokens_per_step / rate for rate in rates.values()]
