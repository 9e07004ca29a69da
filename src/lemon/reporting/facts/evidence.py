"""What the tables and figures that are made say of the claims: their manifests, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lemon.configuration.figure_specs import CurvesSpec, FigureSpec
from lemon.configuration.paper import PaperEntry, TableSpec
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS
from lemon.files.manifest import FORMAT_VERSION, read_manifest
from lemon.provenance import file_digest
from lemon.reporting.facts.scores import BITS, CALIBRATED_LOSS, LOSS, SHARE
from lemon.reporting.facts.setup import Setup, setup_of

State = Literal["made", "older", "missing"]


@dataclass(frozen=True)
class EntryEvidence:
    """A table or figure of `paper.yaml`.

    Attributes:
        claims: that it bears on, by its entry.
        not_tested: the claims that it can't test at this preset, each with the reason.
        state: `older` if a version of the program made it whose verdicts follow other rules, or
            that had no calibrated loss or no answer share.
        pairs: the first and second run of each comparison in its entry.
        manifest: its path, whether or not it is there.
        comparisons, findings: of its manifest; empty unless it is `made`.
    """

    name: str
    claims: frozenset[str]
    not_tested: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    state: State
    manifest: Path
    comparisons: tuple[dict[str, Any], ...] = ()
    findings: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Start:
    """What a run whose operators are learned starts from.

    Attributes:
        models: the runs that are its start as it is, nothing learned.
        group: shape and tied FFNs of its model, source and steps, and the rates: runs of one group
            can be compared.
        rates: their name.
    """

    models: frozenset[str]
    group: tuple[object, ...]
    rates: str | None


@dataclass(frozen=True)
class Evidence:
    """Every entry, and of the runs behind them what a verdict depends on.

    Attributes:
        drawn: runs that depend on random numbers, by their own steps or those before them.
        trained: runs that take optimiser steps, themselves or before.
        starts: by run, of those that learn operators alone.
        inputs: digest by name of each manifest that was read.
    """

    setup: Setup
    entries: tuple[EntryEvidence, ...]
    drawn: frozenset[str]
    trained: frozenset[str]
    starts: Mapping[str, Start]
    inputs: Mapping[str, str]


def evidence(project: Project, results: Path) -> Evidence:
    """Read the manifests of all tables and figures in `results`.

    Raises:
        BadInput: a manifest is damaged.
    """
    entries = tuple(_entry(project, name, results) for name in project.tables)
    behind = {run.id: lineage([run]) for run in project.runs.values()}
    return Evidence(
        setup=setup_of(project),
        entries=entries,
        drawn=frozenset(name for name, runs in behind.items() if any(map(_draws, runs))),
        trained=frozenset(
            name for name, runs in behind.items() if any(run.method.learned for run in runs)
        ),
        starts={
            run.id: _start(project, run)
            for run in project.runs.values()
            if run.method.learns == ("operators",)
        },
        inputs={
            entry.manifest.name: file_digest(entry.manifest)
            for entry in entries
            if entry.state != "missing"
        },
    )


def manifest_path(project: Project, name: str, results: Path) -> Path:
    """The manifest of a table or figure in a folder of results, whether or not it is there."""
    folder = "figures" if project.entry(name).is_figure else "tables"
    return results / folder / f"{name}.manifest.json"


def _entry(project: Project, name: str, results: Path) -> EntryEvidence:
    spec, path = project.entry(name), manifest_path(project, name, results)
    claims, not_tested = _claims_of(spec)
    compared = spec.comparisons if isinstance(spec, TableSpec) else ()
    pairs = tuple((pair.first, pair.second) for pair in compared if pair.than is None)
    unread = EntryEvidence(name, claims, not_tested, pairs, "missing", path)
    if not path.is_file():
        return unread
    manifest = read_manifest(path)
    comparisons, findings = (tuple(manifest.get(key, ())) for key in ("comparisons", "findings"))
    current = manifest.get("format_version", 1) == FORMAT_VERSION
    beside = {LOSS: CALIBRATED_LOSS} | ({BITS: SHARE} if _has_choices(spec) else {})
    for measures in (test.get("measures") for test in comparisons):
        current &= measures is not None and all(
            one not in measures or other in measures for one, other in beside.items()
        )
    if not current:
        return replace(unread, state="older")
    return replace(unread, state="made", comparisons=comparisons, findings=findings)


def _has_choices(spec: PaperEntry) -> bool:
    """Whether a table has a task whose answer is one of several choices."""
    return isinstance(spec, TableSpec) and any(TASKS[t].chance is not None for t in spec.tasks)


def _claims_of(entry: PaperEntry) -> tuple[frozenset[str], dict[str, str]]:
    """The claims that an entry bears on, and those that it can't test, with the reasons."""
    if isinstance(entry, TableSpec):
        reasons: dict[str, list[str | None]] = {}
        for pair in entry.comparisons:
            if pair.claim:
                reasons.setdefault(pair.claim, []).append(pair.not_tested)
        untested = {
            claim: "; ".join(filter(None, said)) for claim, said in reasons.items() if all(said)
        }
        return frozenset(reasons), untested
    if isinstance(entry, FigureSpec):
        return frozenset(entry.claims), dict(entry.not_tested)
    return frozenset(entry.claims if isinstance(entry, CurvesSpec) else ()), {}


def _draws(run: PlannedRun) -> bool:
    """Whether a run depends on its seed: by draws, or by the order of the training text."""
    method = run.method
    reads = method.calibrates and method.calibration_rows is not None
    return method.learned or reads or method.name == "random"


def _start(project: Project, run: PlannedRun) -> Start:
    """Its start as a model of its own: what is built, or the selection of a pruned run."""
    start, others = run.start_run, project.runs.values()
    if start is not None and start.method.learned:
        own = [other for other in others if other.method.selects and not other.method.learned]
        models = {other.id for other in own if other.row.start == start.id}
    else:
        models = {start.id} if start else set()
    rates = run.row.rates
    group = (run.target_shape, run.tied_ffn_layers, run.row.source, run.steps, rates)
    return Start(frozenset(models), group, rates)
