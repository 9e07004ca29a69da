"""The runs behind a table as a tracker wants them: parameters, metrics, tags, files.

Everything is read from the files that the jobs wrote; the same files give equal records. The
paper's rows are records too, under the same metric names, so that a tracker compares the two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.configuration.tasks import DENSE
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import checked_file, read_manifest
from lemon.provenance import file_digest
from lemon.reporting.facts.costs import total_cost
from lemon.reporting.facts.outcomes import RunResult, read_runs
from lemon.reporting.facts.rows import ScoredRow, scored_rows
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.tracking.run_parameters import run_parameters, texts

REPRODUCED, PAPER, SUMMARY = "reproduced", "paper", "table"
PAPER_PUBLISHED_MS = 1_722_470_400_000  # 1 August 2024, ACL 2024: when the paper's rows "ran"


@dataclass(frozen=True)
class Metric:
    """One value of a metric; `elapsed_ms` counts from the start of the run, None is its end."""

    name: str
    value: float
    step: int = 0
    elapsed_ms: int | None = None


@dataclass(frozen=True)
class Record:
    """One run of a tracker.

    Attributes:
        key: what this run is, for ever: the same in every replay.
        name: what people read.
        started_ms, ended_ms: milliseconds since 1970, from the manifests; no part of the digest.
        params, tags: texts by name.
        metrics: every value, step metrics in order.
        files: kept beside the run.
        description: what a reader of its page should know, Markdown.
    """

    key: str
    name: str
    started_ms: int
    ended_ms: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    description: str = ""

    @property
    def digest(self) -> str:
        """A sha256 of the content; manifests of tables hold times and don't count."""
        content = {
            "name": self.name,
            **({"description": self.description} if self.description else {}),
            "params": self.params,
            "tags": self.tags,
            "metrics": [[m.name, repr(float(m.value)), m.step] for m in self.metrics],
            "files": {
                path.name: file_digest(path)
                for path in self.files
                if not path.name.endswith(".manifest.json")
            },
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def table_records(project: Project, table: str, runs: Path, results: Path) -> list[Record]:
    """Every record of a table: one a row and seed, one a published row, one for the table.

    What shows no scores has the last alone.

    Raises:
        BadInput: a run is not evaluated or the table is not rendered.
    """
    summary = _summary(project, table, results)
    if not isinstance(project.entry(table), TableSpec):
        return [summary]
    spec = project.table(table)
    dense = project.table_suites(table) == (DENSE,)
    found = read_runs(runs, project.table_runs(table), spec.tasks, DENSE if dense else None)
    rows = scored_rows(project, table, found)
    reproduced = [
        _reproduced(project, table, row, result, runs) for row in rows for result in row.results
    ]
    return [summary, *_published(project, table, rows), *reproduced]


def _reproduced(
    project: Project, table: str, row: ScoredRow, result: RunResult, runs: Path
) -> Record:
    """One run of ours: settings, learning curve, scores, and what it took, starts included."""
    run = project.run(result.run)
    evaluation = result.manifest
    work = _manifest_if_there(runs / result.run / "manifest.json")
    first = work or evaluation
    steps = step_metrics(runs / result.run / "metrics.jsonl")
    accuracies = {task: 100 * result.accuracy(task) for task in result.correct}
    scores = {**{f"acc/{task}": value for task, value in accuracies.items()}}
    scores["mean"] = sum(accuracies.values()) / len(accuracies)
    if result.perplexity is not None:
        scores["perplexity"] = result.perplexity
        scores |= {f"perplexity/{name}": value for name, value in result.domains.items()}
    if run.method.learned:
        scores |= {
            f"learn/{name}": float(work[name])
            for name in ("wall_s", "peak_memory_bytes")
            if work and name in work
        }
    cost = total_cost(project, result.run, runs)
    took = [Metric(f"cost/{key}", value) for key, value in vars(cost).items() if cost.steps]
    name = f"{row.label}, {row.layers} layers"
    code = first.get("code", {})
    return Record(
        key=f"{project.preset_name}/{table}/{result.run}",
        name=f"{name}, seed {run.seed}" if len(row.results) > 1 else name,
        started_ms=_started_ms(first, runs / result.run),
        ended_ms=_finished_ms(evaluation, runs / result.run),
        params=run_parameters(project, result.run, project.table_suites(table)),
        tags=texts(
            {
                "source": REPRODUCED,
                "preset": project.preset_name,
                "table": table,
                "run": result.run,
                "method": row.label,
                "layers": row.layers,
                "seed": run.seed,
                "git_commit": code.get("commit"),
                "git_dirty": code.get("dirty"),
                "config_digest": _digest(project.resolved(result.run)),
                "attempts": work.get("attempts") if work else None,
            }
        ),
        metrics=[
            *steps,
            *(Metric(key, float(f"{value:.6g}")) for key, value in scores.items()),
            *took,
        ],
    )


def _published(project: Project, table: str, rows: list[ScoredRow]) -> Iterator[Record]:
    """The paper's row beside each of ours."""
    tasks = tuple(project.table(table).tasks)
    for row in rows:
        paper = row.published
        if paper is None:
            continue
        scores = {f"acc/{task}": paper.scores[task] for task in tasks if task in paper.scores}
        mean = paper.average_over(tasks)
        if mean is not None:
            scores["mean"] = mean
        yield Record(
            key=f"paper/{table}/{paper.method}/{paper.layers}",
            name=f"paper: {paper.method}, {paper.layers} layers",
            started_ms=PAPER_PUBLISHED_MS,
            ended_ms=PAPER_PUBLISHED_MS,
            tags=texts(
                {
                    "source": PAPER,
                    "table": table,
                    "method": row.spec.label if row.spec.target else paper.method,
                    "layers": paper.layers,
                }
            ),
            metrics=[Metric(key, value) for key, value in scores.items()],
        )


def _summary(project: Project, table: str, results: Path) -> Record:
    """The rendered table or figure as one record with its files."""
    kind = "figure" if project.entry(table).is_figure else "table"
    files = sorted((results / f"{kind}s").glob(f"{table}.*"))
    path = results / f"{kind}s" / f"{table}.manifest.json"
    if path not in files:
        raise BadInput(f"{path}: the {kind} is not rendered; run `lemon {kind} --{kind} {table}`")
    manifest = read_manifest(path)
    for name in manifest.get("files", {}):
        checked_file(path.with_name(name), path)
    code = manifest.get("code", {})
    numbers = read_numbers(path.parent, table) if kind == "figure" else None
    return Record(
        key=f"{project.preset_name}/{table}",
        name=f"{table}: files and pictures",
        started_ms=_started_ms(manifest, path),
        ended_ms=_finished_ms(manifest, path),
        tags=texts(
            {
                "source": SUMMARY,
                "preset": project.preset_name,
                "table": table,
                "git_commit": code.get("commit"),
                "git_dirty": code.get("dirty"),
                "config_digest": project.digest(),
                **dict(_verdict_tag(test) for test in manifest.get("comparisons", [])),
                **{f.claim: f.verdict for f in (numbers.findings if numbers else []) if f.claim},
            }
        ),
        description=numbers.in_words() if numbers else project.entry(table).title,
        files=sorted({*files, *(results / "figures").glob(f"{table}.*")}),
    )


def _verdict_tag(test: dict[str, Any]) -> tuple[str, str]:
    """An ordering that was tested, named by the first run of each row, and its verdicts."""
    whose = test["claim"] or ("ours" if test["published_difference"] is None else "paper")
    name = f"{whose}/{test['first_runs'][0]} over {test['second_runs'][0]}"
    verdict = f"{test['verdict']} on the mean"
    if test["perplexity"]:
        verdict += f", {test['perplexity']['verdict']} in perplexity"
    return name, verdict


def step_metrics(path: Path) -> list[Metric]:
    """The events of a metrics.jsonl, each (name, step) once: what a resumed run wrote last.

    Raises:
        BadInput: the file is damaged.
    """
    found = {
        (event["name"], event["step"]): Metric(
            event["name"], event["value"], event["step"], round(1000 * event["wall_s"])
        )
        for event in read_events(path)
    }
    return sorted(found.values(), key=lambda metric: (metric.name, metric.step))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _manifest_if_there(path: Path) -> dict[str, Any] | None:
    return read_manifest(path) if path.is_file() else None


def _finished_ms(manifest: dict[str, Any], place: Path) -> int:
    finished = manifest.get("finished")
    if finished is None:
        raise BadInput(
            f"{place}: the manifest of stage {manifest.get('stage')} says no time `finished`; it "
            "was not written by this program, remove it and rerun"
        )
    return round(1000 * datetime.fromisoformat(finished).timestamp())


def _started_ms(manifest: dict[str, Any], place: Path) -> int:
    return _finished_ms(manifest, place) - round(1000 * float(manifest.get("wall_s", 0)))
