"""Records of reproduced runs: settings, learning curve, scores, cost, and means over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.files.manifest import read_manifest
from lemon.provenance import without_private_parts
from lemon.reporting.facts.costs import total_cost
from lemon.reporting.facts.gates import gates_of
from lemon.reporting.facts.outcomes import RunResult
from lemon.tracking.metrics import (
    beside_published,
    curve,
    over_seeds,
    published_scores,
    run_scores,
)
from lemon.tracking.places import Place, tags_of
from lemon.tracking.record import Record, code_tags, content_digest, final_metrics, started_ms

REPRODUCED = "reproduced"


def run_key(project: Project, run: PlannedRun) -> str:
    """The key of a run's record."""
    return f"{project.preset_name}/runs/{run.id}"


def run_tags(project: Project, run: PlannedRun, shown: list[Place]) -> dict[str, Any]:
    """What a tracker's run says of itself before any result; its method as in its first row."""
    label = shown[0].row.label if shown else run.id
    return {
        "source": REPRODUCED,
        "preset": project.preset_name,
        "run": run.id,
        "method": project.preset.source.label if run.row.method == "source" else label,
        "layers": run.target_shape.num_hidden_layers,
        "seed": run.seed,
        **tags_of(shown, run.seed),
    }


def rows_with(run: str, everywhere: list[Place]) -> list[Place]:
    """The rows in which a run stands."""
    return [place for place in everywhere if run in place.row.runs]


def reproduced(
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
    if run.method.learned and "wall_s" in work:
        scores["learn/wall_s"] = work["wall_s"]
    peaks = [job["peak_memory_bytes"] for job in jobs if "peak_memory_bytes" in job]
    scores |= {"system/peak_memory_bytes": max(peaks)} if peaks else {}
    gates = gates_of(work)
    if gates is not None:
        scores |= {f"gates/{k}": v for k, v in asdict(gates).items() if isinstance(v, float)}
    cost = total_cost(run, runs)
    scores |= {f"cost/{name}": value for name, value in vars(cost).items() if cost.steps}
    tags = {
        **run_tags(project, run, shown),
        **({"gates": gates.state, "gates_in_export": gates.export} if gates else {}),
        **code_tags(first),
        "config_digest": content_digest(project.resolved(run.id)),
        "attempts": work.get("attempts"),
        "model": (model := measured[0]["settings"].get("model")),
        "weights": (weights := measured[0]["inputs"].get("weights")),
    }
    parent = next((place.row.runs for place in shown if len(place.row.runs) > 1), None)
    name = f"{tags['method']}, {tags['layers']} layers"
    begun_ms = started_ms(first, folder)
    made = [path for file in ("config.yaml", "manifest.json") if (path := folder / file).is_file()]
    return Record(
        key=run_key(project, run),
        name=f"{name}, seed {run.seed}" if parent else name,
        started_ms=begun_ms,
        ended_ms=begun_ms + round(1000 * sum(float(job.get("wall_s", 0)) for job in jobs)),
        files=made,
        data=_data(work, measured),
        description=_description(run, name, shown, model, weights),
        params=run_parameters(project, run, list(results)),
        tags=texts(tags),
        metrics=[*curve(folder / "metrics.jsonl"), *final_metrics(scores)],
        parent=None if parent is None else _mean_key(project, parent),
    )


def _data(work: dict[str, Any], measured: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """The text that a run learned from and the rows that scored it, by name: use and sha256."""
    found = {}
    if "text" in (read := work.get("inputs", {})):
        found["training text"] = ("training", read["text"])
    for name, digest in [item for job in measured for item in job["inputs"].items()]:
        if name == "heldout" or name.startswith("rows/"):
            found[name.removeprefix("rows/")] = ("evaluation", digest)
    return found


def _description(
    run: PlannedRun, name: str, shown: list[Place], model: str | None, weights: str | None
) -> str:
    """Markdown for the page of a run: what it is, where it stands, where its model is."""
    earlier = [f"`{one.id}`" for one in (run.start, run.first_stage) if one is not None]
    began = f", from run {' and '.join(earlier)}" if earlier else ""
    lines = [f"**{name}**: run `{run.id}`, method `{run.method.name}`, {run.steps} steps{began}."]
    rows = dict.fromkeys(f"`{place.table}`, row {place.number}" for place in shown)
    lines += [f"It stands in {'; '.join(rows)}."] if rows else []
    if model and weights:
        lines.append(f"Its model is the folder `{model}`; the weights have sha256 `{weights}`.")
    return without_private_parts("\n\n".join(lines))


def mean_of_seeds(
    project: Project, seeds: list[Record], place: Place, everywhere: list[Place]
) -> Record:
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
        metrics=final_metrics(over_seeds([seed.scores for seed in seeds])),
    )


def _mean_key(project: Project, seeds: Sequence[str]) -> str:
    return f"{project.preset_name}/seeds/{' '.join(seeds)}"


def run_parameters(project: Project, run: PlannedRun, suites: Collection[str]) -> dict[str, str]:
    """The settings of a run that was scored in these suites, without those that it doesn't use."""
    preset = project.preset
    settings: dict[str, Any] = run.row.model_dump(mode="json", exclude={"id"})
    settings |= {
        "steps": run.steps,
        "source_model": preset.source.label,
        "layers": run.target_shape.num_hidden_layers,
        "dtype": preset.compute.dtype,
    }
    if suites:
        apart = {"tasks", "limit", "limits", "dense"}
        settings["evaluation"] = preset.evaluation.model_dump(mode="json", exclude=apart)
        for suite in map(project.suite, suites):
            rows = {"tasks": list(suite.tasks), "limit": suite.limit, "limits": dict(suite.limits)}
            settings["evaluation"][suite.name] = rows
    if run.row.radii:
        settings["receptive_fields"] = vars(run.radii)
    if run.method.learned:
        section = "pretraining" if run.method.pretrains else "learning"
        settings[section] = run.training.model_dump(mode="json", exclude={"snapshots"})
        settings["text"] = preset.text.model_dump(include={"sequence_length"})
        settings["text"]["domains"] = list(preset.text.domains)
    return texts(dict(_flat(settings)))


def texts(values: dict[str, Any]) -> dict[str, str]:
    """The values as strings, without None and private paths."""
    kept = {name: str(value) for name, value in values.items() if value is not None}
    return {name: str(text) for name, text in without_private_parts(kept).items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", text
