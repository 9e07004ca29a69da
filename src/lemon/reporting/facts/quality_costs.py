"""Quality and cost of many runs: the figure of held-out loss and bits per byte over FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.project import Project
from lemon.configuration.row_lookups import changes_widths
from lemon.reporting.facts.figure import ScoredFigureFacts, of_scores
from lemon.reporting.facts.heldout import UNIGRAM, read_floors
from lemon.reporting.facts.inference_times import InferenceTime, inference_times
from lemon.reporting.facts.model_costs import ModelCost, model_cost
from lemon.reporting.facts.outcomes import read_runs
from lemon.reporting.facts.rows import ScoredRow, scored_rows

COLUMNS = [
    *("run", "method", "target", "learns"),
    *(f.name for f in (*fields(InferenceTime), *fields(ModelCost)) if f.name != "time"),
    *("loss", "loss_low", "loss_high", "bits_per_byte", "bits_low", "bits_high", "seeds"),
]
WHOLE = ("layers", "parameters", "start_tokens", "training_tokens", "seeds")
NOTHING = "nothing learned"


@dataclass(frozen=True, kw_only=True)
class QualityCostFacts(ScoredFigureFacts):
    """The figure; `frame` is that of `_lines`.

    Attributes:
        sequence_length: tokens of the sequence for which FLOPs are counted.
    """

    sequence_length: int


def quality_cost_facts(
    project: Project, figure: str, runs: Path, text: Path | None = None
) -> QualityCostFacts:
    """Gather losses, bits per byte and costs of the figure's rows, and the floor of `text`."""
    results = read_runs(runs, project.table_runs(figure), project.table(figure).tasks)
    return QualityCostFacts(
        **of_scores(project, figure, results, runs),
        frame=_lines(
            project, scored_rows(project, figure, results), inference_times(project, runs), text
        ),
        sequence_length=project.preset.text.sequence_length,
    )


def _lines(
    project: Project,
    rows: list[ScoredRow],
    times: Mapping[LlamaShape, InferenceTime],
    text: Path | None,
) -> pd.DataFrame:
    """The figure in tidy form, columns `COLUMNS`: a line for each row, then the unigram floor.

    The numbers of a `ModelCost` have its units. `loss` is the held-out loss at the best
    temperature, nats per token; `bits_per_byte` is of the right answer, the mean over tasks;
    both have the ends of their 95 % intervals. Lines without a target are levels: the source model
    and the floor.
    """
    lines = [
        {
            "run": " ".join(row.spec.runs),
            "method": row.label,
            "target": _target_in_words(project, row.spec.target),
            "seeds": len(row.results),
            **(model_cost(project, row.runs[0], times).numbers if row.runs else {}),
            "learns": (" and ".join(row.runs[0].method.learns) or NOTHING) if row.runs else None,
            **row.calibrated.named("loss", "loss_low", "loss_high"),
            **row.mean_bits.named("bits_per_byte", "bits_low", "bits_high"),
        }
        for row in rows
    ]
    floors = read_floors(text, [heldout for row in rows for heldout in row.heldouts])
    if UNIGRAM in floors:
        lines.append({"method": f"{UNIGRAM} floor", "loss": round(floors[UNIGRAM], 6)})
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype({name: "Int64" for name in WHOLE})


def _target_in_words(project: Project, target: str | None) -> str | None:
    """`22 layers`, or with other widths also `hidden size 384`; None for the source."""
    if target is None:
        return None
    shape = project.shape_of(target)
    layers = f"{shape.num_hidden_layers} layers"
    wide = changes_widths(project.source_shape(), shape)
    return f"{layers}, hidden size {shape.hidden_size}" if wide else layers
