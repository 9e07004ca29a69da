"""Which kinds of training fit a device, and which settings make the others fit; as a table too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.memory.kinds import kinds
from lemon.memory.training import TrainingMemory, training_memory
from lemon.progress import say

# Share of a device for what is not counted: CUDA's context, libraries, gaps between tensors.
LEFT_FREE = 1 / 8
GB = 10**9
# The settings that take less, each at its least.
LEAST = {"microbatch_sequences": 1, "layers_per_segment": 1, "recompute": True}
SEVERAL = 8
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


@dataclass(frozen=True)
class KindMemory:
    """The memory of one kind of training.

    Attributes:
        runs: those of this kind, the largest first.
        memory: what each process of the largest run takes.
    """

    runs: list[PlannedRun]
    memory: TrainingMemory


def room(project: Project) -> float | None:
    """The bytes that a training may take on a device of the preset; None if that is not stated."""
    stated = project.preset.compute.memory
    return None if stated is None else stated * GB * (1 - LEFT_FREE)


def memory_of(project: Project, runs: Iterable[PlannedRun]) -> list[KindMemory]:
    """The memory of the trained ones of these runs; each kind is computed once, in seconds."""
    found, devices = [], project.preset.compute.devices
    for same in kinds(project, runs, devices).values():
        found.append(KindMemory(same, training_memory(project, same[0], devices)))
        say(f"memory of {names(same)}: {in_gb(found[-1].memory.peak)} GB")
    return found


def misfits(project: Project, found: Iterable[KindMemory]) -> Iterator[str]:
    """For each kind that does not fit, what it takes, and what would make it fit."""
    most, compute = room(project), project.preset.compute
    for kind in found:
        if most is None or kind.memory.peak <= most:
            continue
        yield (
            f"{names(kind.runs)}: training takes up to {in_gb(kind.memory.peak)} GB of "
            f"{'the device' if compute.devices == 1 else 'each device'}, and {in_gb(most)} of its "
            f"{compute.memory} GB (compute.memory) may be taken; "
            f"{_advice(project, kind.runs[0], most)}"
        )


def _advice(project: Project, run: PlannedRun, most: float) -> str:
    """The first setting that makes a run fit, else the first combination."""
    here = project.preset.compute.devices
    section = "pretraining" if run.method.pretrains else "learning"
    less = {name: to for name, to in LEAST.items() if getattr(run.training, name, to) != to}
    tries = [({name: to}, here) for name, to in less.items()]
    if len(less) > 1:
        tries.append((less, here))
    if here < SEVERAL:
        tries += [({}, SEVERAL), (less, SEVERAL)]
    for changed, devices in tries:
        settings: dict[str, Any] = {section: run.training.model_copy(update=changed)}
        other = replace(run, **settings)
        peak = training_memory(project, other, devices).peak
        if peak <= most:
            named = [f"{section}.{name}: {str(to).lower()}" for name, to in changed.items()]
            if devices != here:
                named.append(f"compute.devices: {devices}")
            return f"with {' and '.join(named)} it would take {in_gb(peak)} GB"
    return "no setting makes it fit; take a smaller source model, or devices with more memory"


def names(runs: Iterable[PlannedRun], most: int = 3) -> str:
    """The first ids of some runs, and how many more there are."""
    ids = [run.id for run in runs]
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def in_gb(size: float) -> str:
    """Bytes in GB of 10^9, with one digit."""
    return f"{size / GB:.1f}"


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
