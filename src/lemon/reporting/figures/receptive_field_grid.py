"""Figure 4 right: scores, operator size and step time over the receptive fields.

Paper, section 4.3 and figure 4, right panel: mean accuracy by r_a (attention) and r_i (FFN), the
dimension operators learned from Cut at full depth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.reporting.facts.departures import departures, learns_widths
from lemon.reporting.facts.outcomes import perplexity
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.statistics import mean_interval
from lemon.reporting.tables.headings import table_targets, widths_in_words
from lemon.reporting.tables.radii_section import dimension_parameters

COLUMNS = [
    *("run", "method", "r_a", "r_i", "r_h", "mean", "ci_low", "ci_high", "perplexity"),
    *("operator_parameters", "operator_share"),
    *("seconds_per_step", "seconds_low", "seconds_high", "published", "seeds"),
]
TIMES = ("seconds_low", "seconds_per_step", "seconds_high")  # the quartiles
WHOLE = ("r_a", "r_i", "r_h", "operator_parameters", "seeds")


def grid_lines(project: Project, figure: str, rows: list[ScoredRow], runs: Path) -> pd.DataFrame:
    """The figure in tidy form, columns `COLUMNS`: one line a row of the registry.

    `run` holds the ids of its seeds. `mean` and its 95 % interval, `published` and
    `operator_share` are percent, the share that of the small model's parameters. `seconds_low` and
    `seconds_high` are the quartiles of a step's time, whose median is between them. Lines of runs
    that learn no dimension operators have no radii: they are levels to compare with.

    Args:
        runs: the folder that holds one folder a run.

    Raises:
        BadInput: two rows have the same radii, or a learned run has no step times.
    """
    tasks = tuple(project.table(figure).tasks)
    lines = [_line(project, row, tasks, runs) for row in rows]
    places: dict[tuple[int, int], str] = {}
    for row, line in zip(rows, lines, strict=True):
        if "r_a" in line:
            place = (line["r_a"], line["r_i"])
            if place in places:
                raise BadInput(
                    f"paper.yaml, {figure}: rows {places[place]!r} and {row.label!r} both have "
                    f"r_a {place[0]} and r_i {place[1]}; the grid has one cell for them, so drop "
                    "one or give it other radii in the preset"
                )
            places[place] = row.label
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype({name: "Int64" for name in WHOLE})


def _line(project: Project, row: ScoredRow, tasks: tuple[str, ...], runs: Path) -> dict[str, Any]:
    line: dict[str, Any] = {
        "run": " ".join(row.spec.runs),
        "method": row.label,
        "published": row.published.average_over(tasks) if row.published else None,
        "seeds": len(row.results),
    }
    if row.results:
        scores = row.document_scores(tasks)
        interval = mean_interval(scores)
        mean = sum(float(values.mean()) for values in scores.values()) / len(tasks)
        line |= {
            "mean": round(100 * mean, 4),
            "ci_low": round(100 * interval.low, 4),
            "ci_high": round(100 * interval.high, 4),
        }
    if row.loss is not None:
        line["perplexity"] = float(f"{perplexity(row.loss):.6g}")
    if row.spec.runs:
        line |= _operators(project, row.spec.runs[0])
        times = [time for run in row.spec.runs for time in step_seconds(project, run, runs)]
        if times:
            quartiles = zip(TIMES, np.quantile(times, (0.25, 0.5, 0.75)), strict=True)
            line |= {name: float(f"{value:.4g}") for name, value in quartiles}
    return line


def _operators(project: Project, run_id: str) -> dict[str, Any]:
    """Radii and size of the dimension operators that a run learns; nothing where it learns none."""
    run = project.run(run_id)
    if run.row.radii is None or not run.method.learns_operators:
        return {}
    radii, target = project.radii(run_id), project.target_shape(run_id)
    count = dimension_parameters(project.fused_shape(run_id), target, radii)
    return {
        "r_a": radii.attention,
        "r_i": radii.ffn,
        "r_h": radii.hidden,
        "operator_parameters": count,
        "operator_share": round(100 * count / target.num_parameters, 4),
    }


def step_seconds(project: Project, run_id: str, runs: Path) -> list[float]:
    """Seconds of each step that was measured; empty if nothing learns.

    A step that a resumed run repeated counts once, as it was last.

    Raises:
        BadInput: the run learns and its metrics.jsonl has no `train/tokens_per_s`.
    """
    if not project.run(run_id).method.learned:
        return []
    path = runs / run_id / "metrics.jsonl"
    rates = {
        event["step"]: event["value"]
        for event in read_events(path)
        if event["name"] == "train/tokens_per_s"
    }
    if not rates:
        raise BadInput(
            f"{path}: holds no train/tokens_per_s; remove the run's folder and run it again"
        )
    tokens = project.learning(run_id).batch_sequences * project.preset.text.sequence_length
    return [tokens / rate for rate in rates.values()]


def caption(project: Project, figure: str, frame: pd.DataFrame, documents: int) -> str:
    """What must be known to read the figure: model, task rows, learning, levels, departures."""
    spec, preset = project.table(figure), project.preset
    label = preset.source.label
    shapes = [
        f"hidden {widths_in_words(shape)}, {shape.num_hidden_layers} layers"
        for shape in table_targets(project, figure).values()
    ]
    source = project.source_shape()
    seeds = int(frame["seeds"].max())
    listed = {d.setting: d for d in departures(project, figure)}
    keys = ("steps of fusion", "tokens of fusion", "rate of the dimension operators")
    learned = [run for run in spec.runs if learns_widths(project, run)]
    starts = {project.run(run).row.start for run in learned if project.run(run).row.radii}
    sentences = [
        f"{label}, preset {project.preset_name}: hidden {widths_in_words(source)}, "
        f"{source.num_hidden_layers} layers, fused to {' and '.join(shapes)}.",
        f"Dimension operators alone are learned, from {' or '.join(sorted(filter(None, starts)))}.",
        "One seed a cell." if seeds <= 1 else f"Means over up to {seeds} seeds.",
        f"Mean of {len(spec.tasks)} tasks with {documents} rows each at most, zero-shot, with the "
        "95 % bootstrap interval over documents, tasks held fixed; perplexity on held-out text of "
        "the training domains.",
        "Operator size: entries of the small factors of B, A_attn and A_ffn, before rotary halves "
        "are tied; % of the small model's parameters. Step time: median and quartiles, on the "
        "machine that ran it, with what else ran there at the time.",
    ]
    changed = [f"{d.setting} {d.here} (paper {d.paper})" for k in keys if (d := listed.get(k))]
    grid = frame[frame["r_a"].notna()]
    if (grid["r_h"] == grid["r_i"]).all():
        sentences.append("r_h, of the hidden axis, is r_i.")
    else:
        pairs = ", ".join(f"{line.method}: {line.r_h}" for line in grid.itertuples())
        sentences.append(f"r_h, of the hidden axis: {pairs}.")
    absent = frame.loc[frame["seeds"] == 0, "method"]
    if len(absent):
        sentences.append(f"Not yet run: {', '.join(absent)}.")
    if changed:
        sentences.append(f"Departures: {'; '.join(changed)}; all are in the manifest.")
    sentences.append("Paper: LLaMA2-7B. Lighter is better in every panel.")
    return " ".join(sentences)
