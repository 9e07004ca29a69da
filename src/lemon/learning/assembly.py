"""Assembles the trainee of a run: its parameters, weights and learning rates.

`METHODS` in `lemon.configuration` states what a method trains. This determines the fusion, and the
fusion the storage of the source's weights:

    layers mixed          DepthFusion        one stack for each type
    layers selected       LayerSelection     layer by layer
    widths mapped         DimensionFusion    one matrix for each layer
    masks                 MaskedFusion       layer by layer
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.configuration.learning_settings import LearningSettings, PruningSettings
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.preset import Preset
from lemon.decoder import Decoder
from lemon.errors import BadInput
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.fusion import DepthFusion, Fusion, LayerSelection
from lemon.learning.hierarchical import HierarchicalTrainee
from lemon.learning.lagrangian import Lagrangian
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.learning.student import FusedStudent, Teacher
from lemon.learning.teacher_cache import CachedTeacher
from lemon.learning.trainee import FusedTrainee
from lemon.operators.algebra import Operators
from lemon.operators.factor import one_hot
from lemon.training.processes import ALONE, Processes
from lemon.training.trainee import ParameterGroup


def assemble(
    run: PlannedRun,
    preset: Preset,
    source: Checkpoint,
    device: torch.device,
    start: Operators | None = None,
    teacher: Checkpoint | None = None,
    teacher_cache: Path | None = None,
    stands_for: Sequence[int] | None = None,
    processes: Processes = ALONE,
) -> FusedTrainee:
    """Assemble the trainee of a run.

    Args:
        run, preset: a run whose method trains, and the project's preset.
        source: the large model.
        device: device of all weights.
        start: the initial operators; None if masks train.
        teacher: the teacher, if it is not the source.
        teacher_cache: folder in which the teacher's hidden states are kept; None to keep none.
        stands_for: for hierarchical distillation the teacher's layer that each layer learns.
        processes: those that train together; they divide the source's weights where these train.

    Raises:
        BadInput: the start changes both layers and widths or neither, has different rotary halves
            that should be tied, or ties other FFNs than the run's model.
    """
    method, settings, pruning = run.method, run.learning, run.pruning
    tied = preset.fusion.rotary_halves == "tied"
    decoder = Decoder(config_of(start.target if start else source.shape, source.config), device)
    fusion, storage = _fusion(run, source, decoder, device, start, processes, tied=tied)
    load = partial(storage, dtype=getattr(torch, preset.compute.dtype), device=device)
    weights = load(source, trains=method.trains_weights, processes=processes)

    groups, constraint = [], None
    if method.learns_operators:
        operators = dict(fusion.named_parameters())
        if isinstance(fusion, DepthFusion):
            norms = {name: operators.pop(name) for name in ("gamma.ln1", "gamma.ln2")}
            groups += [_group("layer", settings, operators), _group("norm", settings, norms)]
        else:
            groups.append(_group("dimension", settings, operators))
    if method.trains_weights:
        groups.append(_group("weight", settings, _named("weight", weights)))
    if isinstance(fusion, MaskedFusion):
        warmup_ratio = pruning.sparsity_warmup_ratio
        constraint = Lagrangian(fusion.masks, steps=run.steps, warmup_ratio=warmup_ratio)
        multipliers = _named("multiplier", constraint)
        groups.append(_group("mask", pruning, dict(fusion.masks.named_parameters())))
        groups.append(_group("multiplier", pruning, multipliers, ascends=True))

    taught_by = None
    if teacher is not None or method.teaches:
        model = teacher or source
        if teacher is not None:
            frozen: SourceWeights = SourceLayers(teacher, dtype=weights.dtype, device=device)
        else:  # frozen weights are shared with the teacher; trained weights need a separate copy
            frozen = load(source) if method.trains_weights else weights
        taught_by = Teacher(frozen, Decoder(model.config, device))
        if teacher_cache is not None and stands_for is None:  # it keeps the last states alone
            taught_by = CachedTeacher(
                *(frozen, taught_by.decoder, teacher_cache, model.digest()), sharers=processes.count
            )
    student = FusedStudent(
        *(weights, fusion, decoder),
        layers_per_segment=settings.layers_per_segment if stands_for is None else 1,
        recompute=settings.recompute,
    )
    trainee = FusedTrainee(
        *(student, taught_by, groups, constraint),
        lm_weight=settings.lm_weight,
        chunk_tokens=settings.loss_chunk_tokens,
    )
    if stands_for is None:
        return trainee
    return HierarchicalTrainee(**vars(trainee), stands_for=stands_for, states_alone=run.steps // 2)


def _fusion(
    run: PlannedRun,
    source: Checkpoint,
    decoder: Decoder,
    device: torch.device,
    start: Operators | None,
    processes: Processes,
    *,
    tied: bool,
) -> tuple[Fusion, Callable[..., SourceWeights]]:
    """The fusion of a run, and the storage of the source's weights that it reads."""
    learns = run.method.learns_operators
    if start is None:
        masks = Masks(source.shape, run.target_shape, seed=run.seed, device=device)
        return MaskedFusion(masks, decoder.norm_eps, processes), SourceLayers
    if not learns and not [*start.named_factors()]:  # all weights of a model of an earlier run
        return LayerSelection(start, range(start.target.num_hidden_layers)), SourceLayers
    if _maps_widths(start, run.id):
        radius = start.radii.hidden if start.hidden is not None else 1
        fusion = DimensionFusion(start, device, tied=tied, trains=learns)
        return fusion, partial(ResidualLayers, radius=radius)
    kept = None if run.mixes_layers else _kept_layers(start)
    if kept is None:
        tied_ffn = start.tied_ffn if run.tied_ffn_layers > 1 else []
        _require_ties(run, tied_ffn)
        return DepthFusion(start, device, trains=learns, tied_ffn=tied_ffn), SourceStack
    return LayerSelection(start, kept), SourceLayers


def _require_ties(run: PlannedRun, tied_ffn: list[list[int]]) -> None:
    """Refuse a start that does not tie one window of as many FFNs as the run's model has tied."""
    asked = [run.tied_ffn_layers] if run.tied_ffn_layers > 1 else []
    if [len(window) for window in tied_ffn] != asked:
        raise BadInput(
            f"run {run.id}: its start ties the FFNs of the layers {tied_ffn}, and its target asks "
            f"for one window of {run.tied_ffn_layers}; give the folder of its own start"
        )


def _maps_widths(start: Operators, run_id: str) -> bool:
    """Whether a start maps widths (and not layers).

    Raises:
        BadInput: it maps both, or neither.
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


def _kept_layers(start: Operators) -> list[int] | None:
    """The source layer of each target layer; None if layers are mixed or differ by type."""
    kept, first = one_hot(start.gamma["q"]), start.gamma["q"].dense()
    if kept is None or any(not gamma.dense().equal(first) for gamma in start.gamma.values()):
        return None
    return kept.chosen.tolist()


def _group(
    name: str,
    settings: LearningSettings | PruningSettings,
    parameters: dict[str, nn.Parameter],
    *,
    ascends: bool = False,
) -> ParameterGroup:
    key = f"{name}_rate"
    section = "learning" if isinstance(settings, LearningSettings) else "pruning"
    return ParameterGroup(name, getattr(settings, key), f"{section}.{key}", parameters, ascends)


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}
