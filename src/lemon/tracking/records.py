"""The runs of a table as records for a tracker: parameters, metrics, tags, files.

Everything is read from the files that the jobs wrote; the same files give equal records. The
paper's rows are records with the same metric names, so that a tracker can compare the two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lemon.configuration.paper import PaperEntry, TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.preset import Preset
from lemon.configuration.project import Project
from lemon.configuration.tasks import DENSE, Suite
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import checked_file, read_manifest
from lemon.provenance import file_digest, without_private_parts
from lemon.reporting.claims.verdict import ordering_in_words, pair_in_words
from lemon.reporting.facts.costs import total_cost
from lemon.reporting.facts.gates import gates_of
from lemon.reporting.facts.outcomes import RunResult, read_runs
from lemon.reporting.facts.rows import ScoredRow, scored_rows
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.tracking.run_scores import run_scores

REPRODUCED, PAPER, SUMMARY = "reproduced", "paper", "table"
PAPER_PUBLISHED_MS = 1_722_470_400_000  # 1 August 2024, ACL 2024: the date of the paper's rows


@dataclass(frozen=True)
class Metric:
    """One value of a metric; `elapsed_ms` is from the start of the run, None means its end."""

    name: str
    value: float
    step: int = 0
    elapsed_ms: int | None = None


@dataclass(frozen=True)
class Record:
    """One run of a tracker.

    Attributes:
        key: identifies the run; the same in every replay.
        started_ms, ended_ms: milliseconds since 1970, from the manifests; not in the digest.
        metrics: all values, step metrics in order.
        description: Markdown for the run's page.
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
        """A sha256 of the content, without the manifests of tables, which contain times."""
        files = [path for path in self.files if not path.name.endswith(".manifest.json")]
        content = {
            "name": self.name,
            **({"description": self.description} if self.description else {}),
            "params": self.params,
            "tags": self.tags,
            "metrics": [[m.name, repr(float(m.value)), m.step] for m in self.metrics],
            "files": {path.name: file_digest(path) for path in files},
        }
        return _digest(content)


def table_records(project: Project, table: str, runs: Path, results: Path) -> list[Record]:
    """All records of a table: the table itself, each published row, and one for each row and seed.

    Tables and figures without scores have only the first.

    Raises:
        BadInput: a run is not evaluated or the table is not rendered.
    """
    entry, common = project.entry(table), {"preset": project.preset_name, "table": table}
    summary = _summary(entry, common, project.digest(), results)
    if not isinstance(entry, TableSpec):
        return [summary]
    suites = project.table_suites(table)
    suite = DENSE if suites == (DENSE,) else None
    found = read_runs(runs, project.table_runs(table), entry.tasks, suite)
    rows = scored_rows(project, table, found)
    evaluation = _evaluation_settings(project.preset, [project.suite(name) for name in suites])
    reproduced = [
        _reproduced(
            *(row, run, result, common, runs / run.id),
            params=_run_parameters(project.preset, run, evaluation),
            config_digest=_digest(project.resolved(run.id)),
        )
        for row in rows
        for run, result in zip(row.runs, row.results, strict=True)
    ]
    return [summary, *_published(table, rows), *reproduced]


def _reproduced(
    row: ScoredRow,
    run: PlannedRun,
    result: RunResult,
    common: dict[str, str],
    folder: Path,
    *,
    params: dict[str, str],
    config_digest: str,
) -> Record:
    """One reproduced run: settings, learning curve, scores, and cost including its starts."""
    work = read_manifest(path) if (path := folder / "manifest.json").is_file() else {}
    first = work or result.manifest
    scores = run_scores(result)
    if run.method.learned:
        took = [name for name in ("wall_s", "peak_memory_bytes") if name in work]
        scores |= {f"learn/{name}": float(work[name]) for name in took}
    gates = gates_of(work)
    if gates is not None:
        scores |= {f"gates/{k}": v for k, v in asdict(gates).items() if isinstance(v, float)}
    cost = total_cost(run, folder.parent)
    name = f"{row.label}, {row.model_layers} layers"
    tags = {
        "source": REPRODUCED,
        **common,
        "run": run.id,
        "method": row.label,
        "layers": row.model_layers,
        "seed": run.seed,
        **({"gates": gates.state, "gates_in_export": gates.export} if gates else {}),
        **_code(first),
        "config_digest": config_digest,
        "attempts": work.get("attempts"),
    }
    return Record(
        key=f"{common['preset']}/{common['table']}/{run.id}",
        name=f"{name}, seed {run.seed}" if len(row.results) > 1 else name,
        started_ms=_started_ms(first, folder),
        ended_ms=_finished_ms(result.manifest, folder),
        params=params,
        tags=texts(tags),
        metrics=[
            *step_metrics(folder / "metrics.jsonl"),
            *(Metric(key, float(f"{value:.6g}")) for key, value in scores.items()),
            *(Metric(f"cost/{key}", value) for key, value in vars(cost).items() if cost.steps),
        ],
    )


def _code(manifest: dict[str, Any]) -> dict[str, str | None]:
    code = manifest.get("code", {})
    return {"git_commit": code.get("commit"), "git_dirty": code.get("dirty")}


def _run_parameters(preset: Preset, run: PlannedRun, evaluation: dict[str, Any]) -> dict[str, str]:
    """The settings that determine a run, flat, without those that its method doesn't use."""
    settings: dict[str, Any] = run.row.model_dump(mode="json", exclude={"id"})
    settings |= {
        "steps": run.steps,
        "source_model": preset.source.label,
        "layers": run.target_shape.num_hidden_layers,
        "dtype": preset.compute.dtype,
        "evaluation": evaluation,
    }
    if run.row.radii:
        settings["receptive_fields"] = vars(run.radii)
    if run.method.learned:
        section = "pretraining" if run.method.pretrains else "learning"
        settings[section] = run.training.model_dump(mode="json", exclude={"snapshots"})
        settings["text"] = preset.text.model_dump(include={"sequence_length"})
        settings["text"]["domains"] = list(preset.text.domains)
    return texts(dict(_flat(settings)))


def _evaluation_settings(preset: Preset, suites: list[Suite]) -> dict[str, Any]:
    settings = preset.evaluation.model_dump(
        mode="json", exclude={"tasks", "limit", "limits", "dense"}
    )
    tasks = [task for suite in suites for task in suite.tasks]
    limits = {task: rows for suite in suites for task, rows in suite.limits.items()}
    return {**settings, "tasks": tasks, "limit": suites[0].limit, "limits": limits}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                ", ".join(map(str, value)) if isinstance(value, list) else value,
            )


def texts(values: dict[str, Any]) -> dict[str, str]:
    """The values as strings, without None and private paths."""
    kept = {name: str(value) for name, value in values.items() if value is not None}
    return {name: str(text) for name, text in without_private_parts(kept).items()}


def _published(table: str, rows: list[ScoredRow]) -> Iterator[Record]:
    """The paper's rows for the reproduced ones."""
    for row in rows:
        paper = row.published
        if paper is None:
            continue
        scores = {f"acc/{task}": paper.scores[task] for task in row.tasks if task in paper.scores}
        mean = paper.average_over(row.tasks)
        scores |= {} if mean is None else {"mean": mean}
        method = row.spec.label if row.spec.target else paper.method
        yield Record(
            key=f"paper/{table}/{paper.method}/{paper.layers}",
            name=f"paper: {paper.method}, {paper.layers} layers",
            started_ms=PAPER_PUBLISHED_MS,
            ended_ms=PAPER_PUBLISHED_MS,
            tags=texts({"source": PAPER, "table": table, "method": method, "layers": paper.layers}),
            metrics=[Metric(key, value) for key, value in scores.items()],
        )


def _summary(entry: PaperEntry, common: dict[str, str], digest: str, results: Path) -> Record:
    """The rendered table or figure as one record with its files."""
    kind, name = "figure" if entry.is_figure else "table", common["table"]
    files = sorted((results / f"{kind}s").glob(f"{name}.*"))
    path = results / f"{kind}s" / f"{name}.manifest.json"
    if path not in files:
        raise BadInput(f"{path}: the {kind} is not rendered; run `lemon {kind} --{kind} {name}`")
    manifest = read_manifest(path)
    for file in manifest.get("files", {}):
        checked_file(path.with_name(file), path)
    words = read_numbers(path.parent, name).words if kind == "figure" else None
    tags = {
        "source": SUMMARY,
        **common,
        **_code(manifest),
        "config_digest": digest,
        **dict(_verdict_tag(test) for test in manifest.get("comparisons", [])),
        **{f.claim: f.verdict for f in (words.findings if words else []) if f.claim},
    }
    return Record(
        key=f"{common['preset']}/{name}",
        name=f"{name}: files and pictures",
        started_ms=_started_ms(manifest, path),
        ended_ms=_finished_ms(manifest, path),
        tags=texts(tags),
        description=words.as_markdown() if words else entry.title,
        files=sorted({*files, *(results / "figures").glob(f"{name}.*")}),
    )


def _verdict_tag(test: dict[str, Any]) -> tuple[str, str]:
    """A tested ordering, named by the first run of each row, and its verdicts."""
    whose = test["claim"] or ("ours" if test["published_difference"] is None else "paper")
    return f"{whose}/{pair_in_words(test)}", ordering_in_words(test)


def step_metrics(path: Path) -> list[Metric]:
    """The events of a metrics.jsonl, for each (name, step) the last one.

    Raises:
        BadInput: the file is damaged.
    """
    found = {(event["name"], event["step"]): event for event in read_events(path)}
    return [
        Metric(name, event["value"], step, round(1000 * event["wall_s"]))
        for (name, step), event in sorted(found.items())
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _finished_ms(manifest: dict[str, Any], place: Path) -> int:
    if (finished := manifest.get("finished")) is None:
        raise BadInput(
            f"{place}: the manifest of stage {manifest.get('stage')} says no time `finished`; it "
            "was not written by this program, remove it and rerun"
        )
    return round(1000 * datetime.fromisoformat(finished).timestamp())


def _started_ms(manifest: dict[str, Any], place: Path) -> int:
    return _finished_ms(manifest, place) - round(1000 * float(manifest.get("wall_s", 0)))
