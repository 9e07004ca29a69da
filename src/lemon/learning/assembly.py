"""A run put together: which weights, operators and masks learn, at which rates, from what.

What a method learns is data (`METHODS` in `lemon.configuration`); each combination is a student.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.learning.decoder import Decoder
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.fusion import DepthFusion, Fusion, LayerSelection
from lemon.learning.lagrangian import Lagrangian
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.learning.student import FusedStudent, Teacher
from lemon.methods.shear import selection_operators
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, one_hot
from lemon.training.divergence import Divergence
from lemon.training.loop import ParameterGroup


@dataclass(frozen=True)
class Assembly:
    """What the loop runs, and what is written when it has ended.

    Attributes:
        student: the model that learns.
        teacher: the model that teaches; None where the text alone does.
        groups: what learns.
        constraint: on the masks, if there are any.
        operators: those that have been learned.
        weights: the tensors that they apply to, where these are the run's own.
        masks: the gates, if there are any.
    """

    student: FusedStudent
    teacher: Teacher | None
    groups: list[ParameterGroup]
    constraint: Lagrangian | None
    operators: Callable[[], Operators]
    weights: Callable[[], Iterator[tuple[str, Tensor]]] | None
    masks: Masks | None = None


def assemble(
    project: Project,
    run_id: str,
    source: Checkpoint,
    device: torch.device,
    start: Operators | None = None,
    teacher: Checkpoint | None = None,
) -> Assembly:
    """Put a run together.

    Args:
        project: the configuration.
        run_id: a run that learns.
        source: the large model.
        device: where everything lives.
        start: the operators before any learning; None where masks learn.
        teacher: the model that teaches, where it is not the one that is fused.

    Raises:
        BadInput: the start is of a kind that nothing learns from.
    """
    method = project.run(run_id).method
    if start is None:
        return _pruning(project, run_id, source, device)
    elsewhere = None
    if teacher is not None:
        layers = SourceLayers(teacher, dtype=_dtype(project), device=device)
        elsewhere = Teacher(layers, Decoder(teacher.config, device))
    if maps_widths(start, run_id):
        return _fusing_widths(project, run_id, source, device, start, elsewhere)
    if method.learns_operators:
        return _fusing(project, run_id, source, device, start, elsewhere)
    return _tuning(project, run_id, source, device, start, elsewhere)


def _fusing(
    project: Project,
    run_id: str,
    source: Checkpoint,
    device: torch.device,
    start: Operators,
    teacher: Teacher | None,
) -> Assembly:
    """The layer operator learns, and perhaps the weights under it."""
    trains_weights = project.run(run_id).method.trains_weights
    frozen = partial(SourceStack, source, dtype=_dtype(project), device=device)
    decoder = Decoder(source.config, device)
    # With frozen weights both read one stack. Weights that learn are a copy of the teacher's.
    stack = frozen(learns=True) if trains_weights else frozen()
    if teacher is None:
        teacher = Teacher(frozen() if trains_weights else stack, decoder)
    fusion = DepthFusion(start, device)
    rate = project.learning(run_id).layer_rate
    gamma = {f"gamma.{type}": parameter for type, parameter in fusion.gamma.items()}
    groups = [ParameterGroup("layer", rate, "learning.layer_rate", gamma)]
    if trains_weights:
        groups.append(_weights_group(project, run_id, stack))

    def learned() -> Operators:
        return replace(start, gamma={t: Dense(g.detach().cpu()) for t, g in fusion.gamma.items()})

    return Assembly(
        _student(project, run_id, stack, fusion, decoder),
        teacher,
        groups,
        None,
        learned,
        (lambda: iter(stack.named_weights().items())) if trains_weights else None,
    )


def _fusing_widths(
    project: Project,
    run_id: str,
    source: Checkpoint,
    device: torch.device,
    start: Operators,
    teacher: Teacher | None,
) -> Assembly:
    """The dimension operator learns, or the weights under it, or both."""
    method = project.run(run_id).method
    frozen = partial(
        ResidualLayers,
        *(source,),
        dtype=_dtype(project),
        device=device,
        radius=start.radii.hidden if start.hidden is not None else 1,
    )
    layers = frozen(learns=True) if method.trains_weights else frozen()
    if teacher is None:
        weights = frozen() if method.trains_weights else layers
        teacher = Teacher(weights, Decoder(source.config, device))
    tied = project.preset.fusion.rotary_halves == "tied"
    fusion = DimensionFusion(start, device, tied=tied, learns=method.learns_operators)
    groups = []
    if method.learns_operators:
        rate = project.learning(run_id).dimension_rate
        named = dict(fusion.named_parameters())
        groups.append(ParameterGroup("dimension", rate, "learning.dimension_rate", named))
    if method.trains_weights:
        groups.append(_weights_group(project, run_id, layers))
    decoder = Decoder(start.target.to_config(source.config), device)
    return Assembly(
        _student(project, run_id, layers, fusion, decoder),
        teacher,
        groups,
        None,
        fusion.learned if "operators" in method.learns else lambda: start,
        (lambda: iter(layers.named_weights().items())) if method.trains_weights else None,
    )


def _tuning(
    project: Project,
    run_id: str,
    source: Checkpoint,
    device: torch.device,
    start: Operators,
    teacher: Teacher | None,
) -> Assembly:
    """The weights learn under a selection of layers, which stays as it is."""
    layers = SourceLayers(source, dtype=_dtype(project), device=device, learns=True)
    selection = LayerSelection(_kept(start, run_id))
    decoder = Decoder(source.config, device)
    if teacher is None:
        teacher = Teacher(SourceLayers(source, dtype=_dtype(project), device=device), decoder)
    return Assembly(
        _student(project, run_id, layers, selection, decoder),
        teacher,
        [_weights_group(project, run_id, layers)],
        None,
        lambda: start,
        lambda: iter(layers.named_weights().items()),
    )


def _pruning(project: Project, run_id: str, source: Checkpoint, device: torch.device) -> Assembly:
    """Masks learn under the constraint to the target's shape, and the weights with them."""
    settings = project.pruning(run_id)
    target = project.target_shape(run_id)
    layers = SourceLayers(source, dtype=_dtype(project), device=device, learns=True)
    masks = Masks(source.shape, target, seed=project.run(run_id).seed, device=device)
    decoder = Decoder(source.config, device)
    fusion = MaskedFusion(masks, decoder.norm_eps)
    lagrangian = Lagrangian(
        masks, steps=project.steps(run_id), warmup_ratio=settings.sparsity_warmup_ratio
    )
    gates = {f"log_alpha.{name}": parameter for name, parameter in masks.log_alpha.items()}
    multipliers = {f"multiplier.{name}": p for name, p in lagrangian.named_parameters()}
    return Assembly(
        _student(project, run_id, layers, fusion, decoder),
        None,
        [
            _weights_group(project, run_id, layers),
            ParameterGroup("mask", settings.mask_rate, "pruning.mask_rate", gates),
            ParameterGroup(
                *("multiplier", settings.multiplier_rate, "pruning.multiplier_rate", multipliers),
                ascends=True,
            ),
        ],
        lagrangian,
        lambda: selection_operators(source.shape, target, masks.selection()),
        lambda: fusion.folded_weights(layers),
        masks,
    )


def divergence_of(project: Project, run_id: str) -> Divergence:
    """The watch over a run's loss; closing masks may raise it to that of a uniform guess."""
    factor = project.learning(run_id).divergence_factor
    if project.run(run_id).method.prunes:
        return Divergence(factor, reference=math.log(project.source_shape().vocab_size))
    return Divergence(factor)


def maps_widths(start: Operators, run_id: str) -> bool:
    """Whether a start maps widths, and not layers.

    Raises:
        BadInput: it does both, or neither.
    """
    wide = start.hidden is not None or bool(start.attn) or bool(start.ffn)
    deep = set(start.gamma) == set(LAYER_TYPES)
    if wide == deep or (wide and start.gamma):
        what = "both layers and widths" if wide else "neither the layers nor a width"
        raise BadInput(
            f"run {run_id}: its start changes {what}; a stage learns one of the two, so choose "
            "another target, or name the run of the first stage in source"
        )
    return wide


def _kept(start: Operators, run_id: str) -> list[int]:
    """The source layer of each target layer.

    Raises:
        BadInput: the start mixes layers, or keeps different ones for different types.
    """
    kept, first = one_hot(start.gamma["q"]), start.gamma["q"].dense()
    if kept is None or any(not gamma.dense().equal(first) for gamma in start.gamma.values()):
        raise BadInput(
            f"run {run_id}: its start mixes layers; weights are trained under a selection of whole "
            "layers only, such as that of cut, random or a shear run"
        )
    return kept.chosen.tolist()


def _student(
    project: Project, run_id: str, weights: SourceWeights, fusion: Fusion, decoder: Decoder
) -> FusedStudent:
    settings = project.learning(run_id)
    return FusedStudent(
        weights,
        fusion,
        decoder,
        layers_per_segment=settings.layers_per_segment,
        recompute=settings.recompute,
    )


def _weights_group(project: Project, run_id: str, weights: nn.Module) -> ParameterGroup:
    rate = project.learning(run_id).weight_rate
    named = {f"weight.{name}": parameter for name, parameter in weights.named_parameters()}
    return ParameterGroup("weight", rate, "learning.weight_rate", named)


def _dtype(project: Project) -> torch.dtype:
    return getattr(torch, project.preset.compute.dtype)
