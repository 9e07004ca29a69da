"""Kinds of training: of runs that differ in little else than depth, the largest stands for all.

No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project

SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_key_value_heads")
SETTINGS = ("microbatch_sequences", "layers_per_segment", "recompute", "loss_chunk_tokens")
Kind = tuple[object, ...]
"""What the memory of a training depends on, beside depths, tied layers and radii.

Rates, seeds and numbers of steps change nothing. Depths are left out: shapes have 1 layer.
"""


def kind_of(project: Project, run: PlannedRun, devices: int) -> Kind:
    """The kind of a run whose method trains, on a number of devices."""
    method, settings, target = run.method, run.training, run.target_shape
    source, teacher = run.fused_shape, None  # a teacher with weights of its own
    if run.rearranged in ("placed_source", "fused_source"):
        teacher = source
    if run.rearranged == "fused_source" or method.pretrains:
        source = target
    if run.taught_by_source:
        teacher = project.source_shape()
    # The model of masks is the source until the end; which gates there are is all of its target.
    shrinks = tuple(size for size in SIZES if getattr(target, size) < getattr(source, size))
    parts = settings.batch_sequences // settings.microbatch_sequences
    return (
        *(method.learns, method.pretrains, method.matches_states),
        source.with_depth(1),
        shrinks if method.prunes else target.with_depth(1),
        run.mixes_layers and not run.changes_widths,  # whether layers are added up
        teacher and teacher.with_depth(1),
        devices,
        min(2, parts // devices),  # microbatches of a step; 2 stands for all that are more
        tuple(getattr(settings, name, None) for name in SETTINGS),
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
