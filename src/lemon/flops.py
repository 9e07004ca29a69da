"""Floating-point operations of models and of their training, computed from shapes and settings.

Matrix products alone are counted, at two operations per multiply-add: of weights, of attention and
of the head. Norms, activation functions, softmax, rotary embedding and the optimiser are left out.
"""

from __future__ import annotations

from math import ceil, prod

from lemon.architecture import Axis, LlamaShape, tensor_specs
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.radii import Radii


def forward_flops(shape: LlamaShape, sequence_length: int) -> float:
    """FLOP of a forward pass, per token. Tied FFNs are computed once a layer, like any others."""
    return shape.num_hidden_layers * layer_flops(shape, sequence_length) + head_flops(shape)


def layer_flops(shape: LlamaShape, sequence_length: int) -> float:
    """FLOP of a layer's forward pass, per token: weights, causal attention.

    A token attends to half of the sequence on average.
    """
    matrices = (spec for spec in tensor_specs(shape) if spec.layer == 0 and len(spec.shape) == 2)
    weights = sum(spec.num_elements for spec in matrices)
    return 2 * weights + 2 * sequence_length * shape.axis_size(Axis.QUERY)


def head_flops(shape: LlamaShape) -> float:
    """FLOP of the head, per token."""
    return 2 * shape.vocab_size * shape.hidden_size


def learning_flops(project: Project, run: PlannedRun) -> float:
    """FLOP of a run's training: its steps and the losses on tune text."""
    method, length = run.method, run.sequence_length
    student = forward_flops(_trained_shape(run), length)
    evaluations = run.steps // run.training.evaluate_every + 1
    loading = run.pretraining.loading if method.pretrains else run.pruning.loading
    every = loading.update_every if method.prunes or method.pretrains else None
    updates = run.steps // every + 1 if every else 0
    tuned = evaluations * forward_flops(run.target_shape, length) + updates * student
    return run.steps * step_flops(project, run) + run.tune_rows * length * tuned


def step_flops(project: Project, run: PlannedRun) -> float:
    """FLOP of one step of a run's training: teacher, student, fusing.

    Under masks the student has the source's size. Layers whose gate is shut are skipped in the run
    but counted here, since the gates are not known in advance.
    """
    method, settings, length = run.method, run.training, run.sequence_length
    source, target = run.fused_shape, run.target_shape
    student = forward_flops(_trained_shape(run), length)
    taught_by = project.source_shape() if run.taught_by_source else source
    teacher = forward_flops(taught_by, length) if method.teaches else 0.0
    per_token = teacher + (3 + settings.recompute) * student
    learns = method.learns_operators
    mixes = run.changes_widths or run.mixes_layers  # else fixed operators choose layers
    mapped = learns or (mixes and method.teaches)
    passes = (1 + settings.recompute + learns + method.trains_weights) if mapped else 0
    microbatches = ceil(settings.batch_sequences / settings.microbatch_sequences)
    fuse = fusing_flops(source, target, run.radii)
    return settings.batch_sequences * length * per_token + microbatches * passes * fuse


def _trained_shape(run: PlannedRun) -> LlamaShape:
    return run.fused_shape if run.method.prunes else run.target_shape


def training_flops(project: Project, run: PlannedRun) -> float:
    """FLOP of training a run and all runs that it builds on; 0 if nothing is trained.

    Building operators (`lemon.methods.passes`), exporting and scoring are not counted.
    """
    return sum(
        learning_flops(project, earlier) for earlier in lineage([run]) if earlier.method.learned
    )


def fusing_flops(source: LlamaShape, target: LlamaShape, radii: Radii) -> float:
    """FLOP of building a small model's layers once.

    The hidden axis is mapped first; an axis whose size stays costs nothing.
    """
    layer = [spec for spec in tensor_specs(source) if spec.layer == 0]
    if source.with_depth(target.num_hidden_layers) == target:
        elements = sum(spec.num_elements for spec in layer)
        return 2.0 * elements * source.num_hidden_layers * target.num_hidden_layers
    total = 0.0
    for spec in layer:
        sizes = {axis: source.axis_size(axis) for axis in spec.axes}
        for axis in sorted(sizes, key=lambda axis: axis is not Axis.HIDDEN):
            small = target.axis_size(axis)
            if small != sizes[axis]:
                radius = radii.of(Axis.KEY_VALUE if axis is Axis.QUERY else axis)
                total += 2.0 * prod(sizes.values()) * small / radius
                sizes[axis] = small
    return total * source.num_hidden_layers
