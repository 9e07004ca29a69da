"""Which earlier runs stand behind a run: what it starts from, and the first of its two stages."""

from __future__ import annotations

from collections.abc import Iterable

from lemon.configuration.project import Project


def lineage(project: Project, run_ids: Iterable[str]) -> list[str]:
    """These runs, then every run that they start from or fuse the model of, each once."""
    found = dict.fromkeys(run_ids)
    earlier = [
        run
        for run_id in found
        for run in (project.run(run_id).start, project.first_stage(run_id))
        if run in project.runs and run not in found
    ]
    return lineage(project, [*found, *earlier]) if earlier else list(found)
