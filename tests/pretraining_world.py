"""Pre-training on the smoke preset."""

from __future__ import annotations

from replanned import replanned

from lemon.configuration.project import Project

SCRATCH, CONTINUED = "scratch-width", "lemon-width-2-2-pretrained"
UNUSED = {"loading": {"update_every": None}, "snapshots": ()}


def pretraining_project(world, steps: int = 8, **pretraining: object) -> Project:
    """The smoke preset with other pre-training settings; a fixed mixture unless they say else."""
    project = world.project(steps)
    old = project.preset.pretraining
    settings = type(old).model_validate(old.model_dump() | UNUSED | pretraining)
    return replanned(project, preset=project.preset.model_copy(update={"pretraining": settings}))
