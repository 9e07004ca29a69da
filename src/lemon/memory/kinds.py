"""Kinds of training: of runs that differ in little else than depth, the largest stands for all.

No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project


@dataclass(frozen=True)
class Kind:
    """What the memory of a training depends on, beside depths, tied layers and radii.

    Rates, seeds and numbers of steps change nothing. Depths are left out: their shapes have 1.

    Attributes:
        learns: what trains, as its method says.
        pretrains: whether a plain model trains on text alone.
        matches_states: whether hidden states are learned.
        source: sizes of the model whose weights are held; that of the small model in pre-training.
        target: sizes of the small model; of masks None, whose model is the source until the end.
        gates: of masks, the sizes that shrink.
        mixes_layers: whether layers are added up.
        teacher: sizes of a teacher with weights of its own; None if the source teaches, or nobody.
        devices: the processes that train together.
        microbatches: those of a step in one process; 2 stands for all that are more.
        settings: of the training that decide what exists at once.
    """

    learns: tuple[str, ...]
    pretrains: bool
    matches_states: bool
    source: LlamaShape
    target: LlamaShape | None
    gates: tuple[str, ...]
    mixes_layers: bool
    teacher: LlamaShape | None
    devices: int
    microbatches: int
    settings: tuple[tuple[str, int], ...]


SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_key_value_heads")
SETTINGS = ("microbatch_sequences", "layers_per_segment", "recompute", "loss_chunk_tokens")


def kind_of(project: Project, run: PlannedRun, devices: int) -> Kind:
    """The kind of a run whose method trains, on a number of devices."""
    method, settings, target = run.method, run.training, run.target_shape
    source, teacher = run.fused_shape, None
    if run.rearranged in ("placed_source", "fused_source"):
        teacher = source
    if run.rearranged == "fused_source" or method.pretrains:
        source = target
    if run.taught_by_source:
        teacher = project.source_shape()
    shrinks = (size for size in SIZES if getattr(target, size) < getattr(source, size))
    parts = settings.batch_sequences // settings.microbatch_sequences
    named = ((name, getattr(settings, name, None)) for name in SETTINGS)
    return Kind(
        learns=method.learns,
        pretrains=method.pretrains,
        matches_states=method.matches_states,
        source=source.with_depth(1),
        target=None if method.prunes else target.with_depth(1),
        gates=tuple(shrinks) if method.prunes else (),
        mixes_layers=run.mixes_layers and not run.changes_widths,
        teacher=teacher and teacher.with_depth(1),
        devices=devices,
        microbatches=min(2, parts // devices),
        settings=tuple((name, value) for name, value in named if value is not None),
    )


def kinds(
    project: Project, runs: Iterable[PlannedRun], devices: int
) -> dict[Kind, list[PlannedRun]]:
    """The trained ones of these runs by kind, the largest of each first."""
    found: dict[Kind, list[PlannedRun]] = {}
    for run in runs:
        if run.method.learned:
            found.setdefault(kind_of(project, run, devices), []).append(run)
    return {kind: sorted(same, key=_numbers, reverse=True) for kind, same in found.items()}


def _numbers(run: PlannedRun) -> int:
    """Parameters of the models and of the width operators of a run."""
    source, target = run.fused_shape, run.target_shape
    operators = run.radii.parameters(source, target) if run.learns_widths else 0
    return source.num_parameters + target.num_parameters + operators
