"""The numbers and text of the source model's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from lemon.configuration.tasks import TASKS, mean_chance
from lemon.published.tables import AVERAGE
from lemon.reporting.facts.dense_scores import DenseFacts
from lemon.reporting.facts.outcomes import Protocol
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.scores import BITS, SHARE, Score
from lemon.reporting.numbers import count, interval, points
from lemon.reporting.tables.document import Group, Section, WordedTable, numbers, words

COLUMNS = [
    *("run", "method", "layers", "task", "metric", "value", "ci_low", "ci_high", "n", "seeds"),
    *("published", "delta", "verdict", "shots", "shots_asked", "rows_available", "guessing"),
    *("protocol", "source"),
]
NOT_THE_SAME = (
    "The published scores are the authors' own, from the models' cards: lighteval, without "
    "examples, MMLU as the likelihood of the answers' words (cloze). Here prompts and metrics are "
    "lm-eval's with the examples of Table 2, and MMLU is the likelihood of the letters. So a "
    "difference between the two is no error of either."
)


def dense_table(facts: DenseFacts) -> WordedTable:
    """The table as tidy lines, page, and entries of the manifest."""
    setup = facts.setup
    rows = [one.rows for one in facts.protocols.values()]
    per_task = " to ".join(dict.fromkeys([count(min(rows)), count(max(rows))]))
    return WordedTable(
        tidy_lines(facts),
        subtitle=f"{setup.label}, preset {setup.name}, {per_task} rows a task",
        sections=[
            _scores_section(facts),
            *([_published_section(facts)] if facts.published else []),
            *([_rows_section(facts)] if facts.packaged else []),
        ],
        notes=[*_notes(facts), *facts.spec.notes],
        manifest={"inputs": facts.inputs},
    )


def tidy_lines(facts: DenseFacts) -> pd.DataFrame:
    """The tidy form, columns `COLUMNS`: one line for each score, then each published score."""
    row = facts.row
    line = {"run": row.runs[0].id, "method": row.label, "layers": row.layers, "seeds": 1}
    lines: list[dict[str, Any]] = []
    for score in _shown(row, [*row.scores.values(), *row.continuous_scores]):
        guessing = None if score.metric in (BITS, SHARE) else _chance(row, score)
        lines.append({**line, **vars(score), "guessing": guessing})
        if shown := facts.protocols.get(score.task):
            lines[-1] |= {
                "shots": shown.shots,
                "shots_asked": shown.asked,
                "rows_available": shown.available,
                "protocol": "lm-eval" + (f", {shown.chosen}" if shown.asked else ""),
            }
    for known, _ in facts.published:
        model = {"method": known.model, "task": " ".join(known.tasks), "metric": known.name}
        source = {"shots": known.shots, "protocol": known.protocol, "source": known.source}
        lines.append({**model, "published": known.value, **source})
    frame = pd.DataFrame(lines, columns=COLUMNS)
    whole = ("layers", "n", "seeds", "shots", "shots_asked", "rows_available")
    return frame.astype({name: "Int64" for name in whole})


def _shown(row: ScoredRow, scores: Iterable[Score]) -> list[Score]:
    """The scores of the tasks, and their means if there are several."""
    return [score for score in scores if len(row.tasks) > 1 or score.task != AVERAGE]


def _chance(row: ScoredRow, score: Score) -> float | None:
    """The score of guessing; None if a task has no choices."""
    return mean_chance([score.task] if score.task in row.tasks else row.tasks)


def _scores_section(facts: DenseFacts) -> Section:
    lines = []
    for score in _shown(facts.row, facts.row.scores.values()):
        own = {one.metric: one for one in facts.row.continuous_scores if one.task == score.task}
        share, shown = own.get(SHARE), facts.protocols.get(score.task)
        line = [
            TASKS[score.task].label if shown else "Mean",
            score.metric,
            _shots(shown) if shown else "",
            _rows(shown) if shown else count(score.n or 0),
            *_with_interval(score),
            points(_chance(facts.row, score)),
            *_with_interval(own[BITS], 2),
            points(share.value if share else None),
        ]
        lines.append(line)
    columns = [
        *words("Task", "Metric"),
        *numbers("Shots", "Rows", "Score", "95 % interval", "Guessing"),
        *numbers("Bits per byte", "95 % interval", "Share of the right answer, percent"),
    ]
    return Section("Scores, percent", columns, [Group("", lines)], drawn=True)


def _published_section(facts: DenseFacts) -> Section:
    models = list(dict.fromkeys(known.model for known, _ in facts.published))
    value = {(known.name, known.model): known.value for known, _ in facts.published}
    first_of = {known.name: (known, ours) for known, ours in reversed(facts.published)}
    lines = []
    for name in dict.fromkeys(known.name for known, _ in facts.published):
        known, ours = first_of[name]
        shots = " and ".join(_shots(facts.protocols[task]) for task in known.tasks)
        here = " and ".join(TASKS[task].label for task in known.tasks)
        published = [points(value.get((name, model))) for model in models]
        score = _with_interval(_shown(ours, ours.scores.values())[-1])
        lines.append([name, *published, str(known.shots), here, *score, shots])
    cards = ", ".join(dict.fromkeys(known.source for known, _ in facts.published))
    return Section(
        "Beside what its authors publish",
        [
            *words("Benchmark"),
            *numbers(*(f"{model}, published" for model in models), "Shots, published"),
            *words("Here"),
            *numbers("Score here", "95 % interval", "Shots here"),
        ],
        [Group("", lines)],
        note=f"{NOT_THE_SAME} Cards: {cards}.",
        drawn=True,
    )


def _rows_section(facts: DenseFacts) -> Section:
    lines = [[one.setting.removeprefix("rows of "), one.here] for one in facts.packaged]
    columns = [*words("Task"), *words("Rows here, compared with the Hub's", wrap=True)]
    return Section("Rows", columns, [Group("", lines)])


def _notes(facts: DenseFacts) -> Iterator[str]:
    yield (
        "Intervals are 95 % over the documents: Wilson's for a task, for a mean the bootstrap "
        "within each task. Tasks are held fixed."
    )
    yield (
        "Shots are examples before each question; where fewer fit before the longest question than "
        "the paper has, both are given. Rows are the first ones of their split, of how many."
    )
    yield "Guessing is the expected score of a random choice; tasks without choices have none."
    yield (
        "Bits per byte are those of the right answer as a continuation, less is better; its share "
        "is its probability among the choices. Both use the likelihoods that accuracy only ranks."
    )
    if facts.dequantised:
        yield f"The weights here are dequantised ({facts.dequantised}); the published are not."
    if facts.published:
        yield (
            f"{facts.setup.label} is the model here; other models were published beside it and are "
            "not scored here."
        )


def _shots(shown: Protocol) -> str:
    return f"{shown.shots} of {shown.asked}" if shown.cut_short else str(shown.shots)


def _rows(shown: Protocol) -> str:
    rows = count(shown.rows)
    return rows if shown.available is None else f"{rows} of {count(shown.available)}"


def _with_interval(score: Score, decimals: int = 1) -> list[str]:
    value = "" if score.value is None else f"{score.value:.{decimals}f}"
    return [value, interval(score.ci_low or 0.0, score.ci_high or 0.0, decimals)]
