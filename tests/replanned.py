"""A project with another preset or other rows of `runs.tsv`, its runs planned anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lemon.configuration.paper import runs_with_snapshots
from lemon.configuration.planned_run import plan_runs
from lemon.configuration.preset import Preset
from lemon.configuration.project import Project
from lemon.configuration.runs import Run


def replanned(
    project: Project, *rows: Run, preset: Preset | None = None, **changes: Any
) -> Project:
    """The project with these rows added or replaced, with this preset, and with other changes."""
    preset = preset or project.preset
    known = {run.id: run.row for run in project.runs.values()} | {row.id: row for row in rows}
    kept = {run for entry in project.tables.values() for run in runs_with_snapshots(entry)}
    runs = plan_runs(preset, known, kept)
    return replace(project, preset=preset, runs=runs, **changes)
