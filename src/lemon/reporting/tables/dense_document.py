"""The table of the source model as a reader sees it, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lemon.configuration.project import Project
from lemon.configuration.tasks import DENSE
from lemon.files.manifest import write_manifest
from lemon.reporting.facts.dense_scores import (
    DenseScore,
    PublishedScore,
    dense_frame,
    dense_score,
    published_scores,
)
from lemon.reporting.facts.departures import packaged_rows
from lemon.reporting.facts.outcomes import RunResult, outcomes_digest, read_run
from lemon.reporting.facts.protocol import Protocol, protocols
from lemon.reporting.tables.accuracy import table_title
from lemon.reporting.tables.cells import DASH
from lemon.reporting.tables.document import Column, Group, SizesDocument, SizesSection, count
from lemon.reporting.tables.sizes_tables import write_renderings

NOT_THE_SAME = (
    "The published scores are the authors' own, from the models' cards: lighteval, without "
    "examples, MMLU as the likelihood of the answers' words (cloze). Here prompts and metrics are "
    "lm-eval's with the examples of Table 2, and MMLU is the likelihood of the letters. So a "
    "difference between the two is no error of either."
)


def write_dense_scores(project: Project, table: str, runs: Path, out: Path, started: float) -> None:
    """Write `table`.{csv,md,tex,html,png} and, last, `table`.manifest.json into `out`.

    Raises:
        BadInput: the source was not evaluated on the dense rows.
    """
    spec = project.table(table)
    (run,) = project.table_runs(table)
    result = read_run(runs, run, spec.tasks, DENSE)
    shown = protocols({run: result}, spec.tasks)
    single = [dense_score(result, (task,)) for task in spec.tasks]
    mean = [dense_score(result, tuple(spec.tasks))] if len(single) > 1 else []
    file, label = spec.published or "", project.preset.source.label
    known = published_scores(file, label, tuple(spec.tasks)) if file else []
    frame = dense_frame(project, result, [*single, *mean], known, shown)
    document = SizesDocument(
        title=table_title(table, spec.title),
        subtitle=f"{label}, preset {project.preset_name}, {_rows_in_words(shown)}",
        sections=[
            _scores_section(single, mean, shown),
            *([_published_section(result, known, shown)] if known else []),
            *_rows_section(project, table),
        ],
        notes=[*_notes(project, known), *spec.notes],
    )
    files = write_renderings(out, table, frame, document)
    write_manifest(
        out / f"{table}.manifest.json",
        "table",
        settings={"preset": project.preset_name, "table": table, "config": project.digest()},
        inputs={run: outcomes_digest(runs / run, [DENSE])},
        started=started,
        files=files,
    )


def _rows_in_words(shown: Mapping[str, Protocol]) -> str:
    rows = sorted({one.rows for one in shown.values()})
    return " to ".join(dict.fromkeys([count(rows[0]), count(rows[-1])])) + " rows a task"


def _scores_section(
    single: list[DenseScore], mean: list[DenseScore], shown: Mapping[str, Protocol]
) -> SizesSection:
    lines = [
        [
            score.name,
            score.metric,
            _shots(shown[score.tasks[0]]),
            _rows(shown[score.tasks[0]]),
            *_numbers(score),
            _percent(score.chance),
        ]
        for score in single
    ]
    lines += [
        ["Mean", "mean", "", count(one.rows), *_numbers(one), _percent(one.chance)] for one in mean
    ]
    columns = [
        Column("Task", words=True),
        Column("Metric", words=True),
        *(Column(name) for name in ("Shots", "Rows", "Score", "95 % interval", "Guessing")),
    ]
    return SizesSection("Scores, percent", columns, [Group("", lines)])


def _published_section(
    result: RunResult, known: list[PublishedScore], shown: Mapping[str, Protocol]
) -> SizesSection:
    """A line for each benchmark, a column for each model that was published."""
    models = list(dict.fromkeys(score.model for score in known))
    names = dict.fromkeys(score.name for score in known)
    value = {(score.name, score.model): score.value for score in known}
    lines = []
    for name in names:
        first = next(score for score in known if score.name == name)
        ours = dense_score(result, first.tasks)
        shots = " and ".join(_shots(shown[task]) for task in first.tasks)
        published = [_percent(value.get((name, model))) for model in models]
        lines.append([name, *published, str(first.shots), ours.name, *_numbers(ours), shots])
    return SizesSection(
        "Beside what its authors publish",
        [
            Column("Benchmark", words=True),
            *(Column(f"{model}, published") for model in models),
            Column("Shots, published"),
            Column("Here", words=True),
            *(Column(name) for name in ("Score here", "95 % interval", "Shots here")),
        ],
        [Group("", lines)],
        note=NOT_THE_SAME + " Cards: " + ", ".join(dict.fromkeys(s.source for s in known)) + ".",
    )


def _rows_section(project: Project, table: str) -> list[SizesSection]:
    """What the rows are, where they are not the Hub's own."""
    lines = [
        [departure.setting.removeprefix("rows of "), departure.here]
        for departure in packaged_rows(project, table)
    ]
    columns = [Column("Task", words=True), Column("Rows here, against the Hub's", words=True)]
    return [SizesSection("Rows", columns, [Group("", lines)], drawn=False)] if lines else []


def _notes(project: Project, known: list[PublishedScore]) -> list[str]:
    notes = [
        "Intervals are 95 % over the documents: Wilson's for a task, for a mean the bootstrap "
        "within each task. Tasks are held fixed.",
        "Shots are examples before each question; where fewer fit before the longest question than "
        "the paper has, both are given. Rows are the first ones of their split, of how many.",
        "Guessing is the expected score of a random choice; tasks without choices have none.",
    ]
    source = project.preset.source
    if source.kind == "gguf" and source.asset:
        what = project.assets[source.asset].what
        notes.append(f"The weights here are dequantised ({what}); the published are not.")
    if known:
        notes.append(
            f"{source.label} is the model here; other models were published beside it and are "
            "not scored here."
        )
    return notes


def _shots(shown: Protocol) -> str:
    return f"{shown.shots} of {shown.asked}" if shown.cut_short else str(shown.shots)


def _rows(shown: Protocol) -> str:
    rows = count(shown.rows)
    return rows if shown.available is None else f"{rows} of {count(shown.available)}"


def _numbers(score: DenseScore) -> list[str]:
    low, high = score.interval.low, score.interval.high
    return [_percent(score.value), f"{low:.1f}{DASH}{high:.1f}"]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
