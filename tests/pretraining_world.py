"""The smoke preset's pre-training, and what a run of it has logged."""

from __future__ import annotations

from pathlib import Path

from replanned import replanned

from lemon.configuration.project import Project
from lemon.events import read_events

SCRATCH, CONTINUED = "scratch-width", "lemon-width-2-2-pretrained"
UNUSED = {"loading": {"update_every": None}, "snapshots": ()}


def smoke(world, steps: int = 8, **pretraining: object) -> Project:
    """The smoke preset with other pre-training settings; a fixed mixture unless they say else."""
    project = world.project(steps)
    old = project.preset.pretraining
    settings = type(old).model_validate(old.model_dump() | UNUSED | pretraining)
    return replanned(project, preset=project.preset.model_copy(update={"pretraining": settings}))


def losses(folder: Path, name: str = "train/loss") -> list[float]:
    events = read_events(folder / "metrics.jsonl")
    return [event["value"] for event in events if event["name"] == name]


def events(folder: Path) -> list[tuple]:
    """All events without times."""
    return [
        (event["step"], event["name"], event["value"])
        for event in read_events(folder / "metrics.jsonl")
        if event["name"] != "train/tokens_per_s"
    ]
