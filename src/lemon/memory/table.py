"""The memory of every kind of training of a preset as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.memory.fit import KindMemory, in_gb, memory_of, names, room

TEXT = """\
# Memory of every kind of training with preset {preset}

The most GB (10^9 bytes) of tensors that exist at once in one process, of {devices} with
{memory} GB: one step at the real sizes, forwards, backwards, clipping and optimiser, without values
([decision 0038](../decisions/0038-memory-before-a-run.md)). *Held* exists all the time: weights,
teacher, gradients, moments. Of runs that differ in depth or radii alone the largest has the line.
A kind may take {room} GB; what is left is for what is not counted, such as CUDA's context. Nothing
here was measured on a GPU.

Written by `lemon plan --preset {preset} --memory`.

| runs | learned | model | sequences at once | held | peak |
|---|---|---|---:|---:|---:|
"""


def memory_table(project: Project) -> str:
    """The table of all runs of a preset that states the memory of its devices."""
    compute, most = project.preset.compute, room(project)
    assert most is not None
    text = TEXT.format(
        preset=project.preset_name,
        devices="one device" if compute.devices == 1 else f"{compute.devices} devices",
        memory=compute.memory,
        room=in_gb(most),
    )
    return text + "".join(f"{row(kind)}\n" for kind in memory_of(project, project.runs.values()))


def row(kind: KindMemory) -> str:
    """The line of a kind."""
    return f"| {label(kind.runs)} | {in_gb(kind.memory.held)} | {in_gb(kind.memory.peak)} |"


def label(runs: Sequence[PlannedRun]) -> str:
    """What the kind of these runs is, as the first cells of its line."""
    run = runs[0]
    target = run.target_shape
    learned = "all weights" if run.method.pretrains else ", ".join(run.method.learns)
    radii = f", r = {run.radii}" if run.learns_widths else ""
    model = f"{target.num_hidden_layers} layers of {target.hidden_size}{radii}"
    return " | ".join((names(runs), learned, model, str(run.training.microbatch_sequences)))
