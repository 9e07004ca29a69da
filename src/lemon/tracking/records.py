"""The runs of a table as records for a tracker: parameters, metrics, tags, files.

Everything is read from the files that the jobs wrote; the same files give equal records. A run has
one record, whichever of its tables asks for it, and so has a row of the paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lemon.configuration.paper import PaperEntry, TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.configuration.tasks import suites
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import checked_file, read_manifest
from lemon.provenance import file_digest
from lemon.reporting.claims.verdict import ordering_in_words, pair_in_words
from lemon.reporting.facts.costs import total_cost
from lemon.reporting.facts.gates import gates_of
from lemon.reporting.facts.outcomes import RunResult, read_run, require_same_documents
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.tracking.metrics import (
    Metric,
    beside_published,
    curve,
    over_seeds,
    published_scores,
    rounded,
    run_scores,
)
from lemon.tracking.places import Place, places, tags_of
from lemon.tracking.settings import run_parameters, texts

REPRODUCED, PAPER, SUMMARY = "reproduced", "paper", "table"
PAPER_PUBLISHED_MS = 1_722_470_400_000  # 1 August 2024, ACL 2024: the date of the paper's rows


@dataclass(frozen=True)
class Record:
    """One run of a tracker.

    Attributes:
        key: identifies the run; the same in every replay.
        started_ms, ended_ms: milliseconds since 1970, from the manifests and without the time that
            jobs waited; not in the digest.
        metrics: all values, step metrics in order.
        description: Markdown for the run's page.
        parent: the key of the record of which this one is a seed; not in the digest.
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
    parent: str | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The metrics that have one value, at the run's end."""
        return {m.name: m.value for m in self.metrics if m.elapsed_ms is None}

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
    """All records of a table: the table itself, each published row, each run, and where a row has
    several seeds, before them, their mean.

    Tables and figures without scores have only the first.

    Raises:
        BadInput: a run is not evaluated or the table is not rendered.
    """
    entry = project.entry(table)
    records = [_summary(project, table, results)]
    if not isinstance(entry, TableSpec):
        return records
    needed = project.table_suites(table)
    results_of = {run: _results(project, run, needed, runs) for run in project.table_runs(table)}
    for suite in needed:
        tasks = [task for task in entry.tasks if task in project.suite(suite).tasks]
        require_same_documents({run: found[suite] for run, found in results_of.items()}, tasks)
    everywhere = places(project)
    for place in (place for place in everywhere if place.table == table):
        if place.published is not None:
            records.append(_published(project, place, everywhere))
        seeds = [
            _reproduced(project, project.run(run), results_of[run], everywhere, runs)
            for run in place.row.runs
        ]
        records += [_mean(project, seeds, place, everywhere)] if len(seeds) > 1 else []
        records += seeds
    return list({record.key: record for record in records}.values())


def run_key(project: Project, run: PlannedRun) -> str:
    """The key of a run's record."""
    return f"{project.preset_name}/runs/{run.id}"


def run_label(project: Project, run: PlannedRun, shown: list[Place]) -> str:
    """The name of a run's method: in its first row, or of the source model; its id in no row."""
    if run.row.method == "source":
        return project.preset.source.label
    return shown[0].row.label if shown else run.id


def run_tags(project: Project, run: PlannedRun, shown: list[Place]) -> dict[str, Any]:
    """What a tracker's run says of itself before any result."""
    return {
        "source": REPRODUCED,
        "preset": project.preset_name,
        "run": run.id,
        "method": run_label(project, run, shown),
        "layers": run.target_shape.num_hidden_layers,
        "seed": run.seed,
        **tags_of(shown, run.seed),
    }


def rows_with(run: str, everywhere: list[Place]) -> list[Place]:
    """The rows in which a run stands."""
    return [place for place in everywhere if run in place.row.runs]


def _reproduced(
    project: Project,
    run: PlannedRun,
    results: dict[str, RunResult],
    everywhere: list[Place],
    runs: Path,
) -> Record:
    """One reproduced run: settings, learning curve, scores, and cost including its starts."""
    shown, folder = rows_with(run.id, everywhere), runs / run.id
    work = read_manifest(path) if (path := folder / "manifest.json").is_file() else {}
    measured = [result.manifest for result in results.values()]
    first = work or measured[0]
    jobs = [work, *measured] if work else measured
    published: dict[str, float] = {}
    for place in shown:
        if place.published is not None:
            published = published_scores(place.published, place.spec.tasks) | published
    averaged = dict.fromkeys(place.spec.tasks for place in shown)
    scores = beside_published(run_scores(results, averaged), published)
    if run.method.learned:
        took = [name for name in ("wall_s", "peak_memory_bytes") if name in work]
        scores |= {f"learn/{name}": work[name] for name in took}
    gates = gates_of(work)
    if gates is not None:
        scores |= {f"gates/{k}": v for k, v in asdict(gates).items() if isinstance(v, float)}
    cost = total_cost(run, runs)
    scores |= {f"cost/{name}": value for name, value in vars(cost).items() if cost.steps}
    tags = {
        **run_tags(project, run, shown),
        **({"gates": gates.state, "gates_in_export": gates.export} if gates else {}),
        **_code(first),
        "config_digest": _digest(project.resolved(run.id)),
        "attempts": work.get("attempts"),
    }
    parent = next((place.row.runs for place in shown if len(place.row.runs) > 1), None)
    name = f"{tags['method']}, {tags['layers']} layers"
    started_ms = _started_ms(first, folder)
    return Record(
        key=run_key(project, run),
        name=f"{name}, seed {run.seed}" if parent else name,
        started_ms=started_ms,
        ended_ms=started_ms + round(1000 * sum(float(job.get("wall_s", 0)) for job in jobs)),
        params=run_parameters(project, run, list(results)),
        tags=texts(tags),
        metrics=[*step_metrics(folder / "metrics.jsonl"), *_final(scores)],
        parent=None if parent is None else _mean_key(project, parent),
    )


def _results(
    project: Project, run: str, needed: tuple[str, ...], runs: Path
) -> dict[str, RunResult]:
    """The results of a run by suite, those needed and others that are whole.

    A suite that is being written belongs to another table, which will record it.
    """
    found = {}
    for suite in suites(project.preset.evaluation).values():
        try:
            found[suite.name] = read_run(runs, run, suite.tasks, suite.name)
        except BadInput:
            if suite.name in needed:
                raise
    return found


def _mean(project: Project, seeds: list[Record], place: Place, everywhere: list[Place]) -> Record:
    """A row of several seeds: what they share, and the means of their scores."""
    shown = [other for other in everywhere if other.row.runs == place.row.runs]
    same = ("source", "preset", "method", "layers")
    params = seeds[0].params.items()
    return Record(
        key=_mean_key(project, place.row.runs),
        name=f"{seeds[0].name.rpartition(',')[0]}, mean of {len(seeds)} seeds",
        started_ms=min(seed.started_ms for seed in seeds),
        ended_ms=max(seed.ended_ms for seed in seeds),
        params={n: v for n, v in params if all(seed.params.get(n) == v for seed in seeds)},
        tags={name: seeds[0].tags[name] for name in same} | tags_of(shown),
        metrics=_final(over_seeds([seed.scores for seed in seeds])),
    )


def _published(project: Project, place: Place, everywhere: list[Place]) -> Record:
    """A row of the paper, with its scores in all tables that show it."""
    paper, file = place.published, str(place.spec.published).removesuffix(".csv")
    assert paper is not None
    same = [
        other
        for other in everywhere
        if other.published == paper and other.spec.published == place.spec.published
    ]
    scores: dict[str, float] = {}
    for other in same:
        scores = published_scores(paper, other.spec.tasks) | scores
    tags = {
        "source": PAPER,
        "preset": project.preset_name,
        "method": same[0].row.label if same[0].row.target else paper.method,
        "layers": paper.layers,
        **tags_of(same),
    }
    return Record(
        key=f"paper/{file}/{paper.method}/{paper.layers}",
        name=f"paper: {paper.method}, {paper.layers} layers",
        started_ms=PAPER_PUBLISHED_MS,
        ended_ms=PAPER_PUBLISHED_MS,
        tags=texts(tags),
        metrics=_final(scores),
    )


def _summary(project: Project, name: str, results: Path) -> Record:
    """The rendered table or figure as one record with its files."""
    entry: PaperEntry = project.entry(name)
    kind = "figure" if entry.is_figure else "table"
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
        **{"preset": project.preset_name, "table": name},
        **_code(manifest),
        "config_digest": project.digest(),
        **dict(_verdict_tag(test) for test in manifest.get("comparisons", [])),
        **{f.claim: f.verdict for f in (words.findings if words else []) if f.claim},
    }
    return Record(
        key=f"{project.preset_name}/tables/{name}",
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
    """The curves in a metrics.jsonl; BadInput if it is damaged."""
    return curve(read_events(path))


def _final(scores: dict[str, float]) -> list[Metric]:
    return [Metric(name, rounded(value)) for name, value in scores.items()]


def _mean_key(project: Project, seeds: Sequence[str]) -> str:
    return f"{project.preset_name}/seeds/{' '.join(seeds)}"


def _code(manifest: dict[str, Any]) -> dict[str, str | None]:
    code = manifest.get("code", {})
    return {"git_commit": code.get("commit"), "git_dirty": code.get("dirty")}


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
