"""The most bytes of tensors that exist at once while a run trains, found without their values.

The trainee and the step are those of `lemon learn` and `lemon pretrain` at the run's own sizes; the
tensors are fake ones (`lemon.memory.live_bytes`). They are fake tensors of the CPU, since a build
of torch without CUDA can't differentiate fake ones of a GPU. Attention keeps its output and one
number a row on both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.configuration.learning_settings import (
    PretrainingSettings,
    PruningSettings,
    TrainingSettings,
)
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.learning import run as learning
from lemon.learning.assembly import assemble
from lemon.memory.blanks import BlankCheckpoint, BlankProcesses, BlankText
from lemon.memory.live_bytes import fake_tensors
from lemon.methods import cut
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import keeping
from lemon.pretraining import run as pretraining
from lemon.pretraining.language_model import LanguageModel
from lemon.training.loop import Trainer

CPU = torch.device("cpu")
Settings = TypeVar("Settings", bound=TrainingSettings)
Section = TypeVar("Section", PretrainingSettings, PruningSettings)


@dataclass(frozen=True)
class TrainingMemory:
    """What one process of a run takes while it trains, in bytes.

    Attributes:
        held: weights, teacher, gradients and moments, which exist all the time.
        peak: the most at once, of one step and of the losses on the tune text.
    """

    held: int
    peak: int


class TiedStart(Operators):
    """Operators whose first target layers share one FFN.

    `Operators.tied_ffn` compares rows of gamma, and fake tensors have no values to compare.
    """

    tied_layers = 1

    @property
    def tied_ffn(self) -> list[list[int]]:
        """The one window of layers that share."""
        return [list(range(self.tied_layers))]


def training_memory(project: Project, run: PlannedRun, devices: int) -> TrainingMemory:
    """The memory of a run whose method trains, in one of `devices` processes."""
    method, settings = run.method, run.training
    microbatches = settings.batch_sequences // settings.microbatch_sequences // devices
    few, processes = _one_microbatch(run, devices), BlankProcesses(0, devices)
    start = None if method.prunes or method.pretrains else _start(few)  # a selection is looked up
    with fake_tensors() as live:
        if method.pretrains:
            trainer = _pretraining(project, few, processes)
        else:
            trainer = _learning(project, few, start, processes)
        live.peak = live.now  # models are made in main memory
        if run.mixture_reference:
            reference = _plain_trainee(project, few, project.source_shape(), processes)
            live.peak = live.now
            rows = few.training.microbatch_sequences
            tokens = torch.zeros(rows, project.preset.text.sequence_length + 1, dtype=torch.long)
            reference.tune_loss(tokens, exported=True)
            del reference
        every, state = trainer.parameters.values(), trainer.optimizer.state
        if method.learns == ("weights",) and not (method.pretrains or run.mixes_layers):
            trainer.take_step(0)  # layers that are not selected get no gradients and no moments
        else:
            _set_gradients(every)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
        if microbatches > 1:  # gradients of one wait for those of the next
            _set_gradients(parameter for parameter in every if parameter in state)
        held = live.now
        trainer.take_step(1)
        trainer.tune_losses(exported=False)
    return TrainingMemory(held, live.peak)


def _set_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)


def _one_microbatch(run: PlannedRun, devices: int) -> PlannedRun:
    """The run with one microbatch a process in a step, one of tune text, and a fixed mixture."""

    def less(settings: Settings) -> Settings:
        size = settings.microbatch_sequences
        update = {"batch_sequences": devices * size, "tune_sequences": size}
        return settings.model_copy(update=update)

    def fixed(section: Section) -> Section:
        loading = section.loading.model_copy(update={"update_every": None})
        return section.model_copy(update={"loading": loading})

    return replace(
        run,
        learning=less(run.learning),
        pretraining=fixed(less(run.pretraining)),
        pruning=fixed(run.pruning),
    )


def _start(run: PlannedRun) -> Operators:
    """Operators of the run's sizes. Whether layers are added up, the run says."""
    target = run.target_shape
    source = target if run.method.matches_states else run.fused_shape
    if run.changes_widths:
        return cut.build(BuildContext(BlankCheckpoint(source, "float32"), target, run.radii))
    if source == target and not run.mixes_layers:
        return Operators(source, target)
    gamma = keeping(range(target.num_hidden_layers), source.num_hidden_layers)
    start = TiedStart(source, target, gamma=dict.fromkeys(LAYER_TYPES, gamma))
    start.tied_layers = run.tied_ffn_layers
    return start


def _learning(
    project: Project, run: PlannedRun, start: Operators | None, processes: BlankProcesses
) -> Trainer:
    """The trainer of `lemon learn`; the models are as `lemon.learning.run.learn` hands them on."""
    stored, method = project.preset.source.dtype, run.method
    given = BlankCheckpoint(run.fused_shape, stored)
    fused = BlankCheckpoint(run.target_shape, stored) if method.matches_states else given
    teacher = None
    if run.taught_by_source:
        teacher = BlankCheckpoint(project.source_shape(), stored)
    elif run.rearranged in ("placed_source", "fused_source"):
        teacher = given
    trainee = assemble(
        *(run, project.preset, fused, CPU, start, teacher),
        stands_for=range(run.target_shape.num_hidden_layers) if method.matches_states else None,
        processes=processes,
    )
    text = BlankText(project.preset.text, fused.shape.vocab_size)
    return learning.trainer_of(run, trainee, text, Path("blank"), "", processes)


def _pretraining(project: Project, run: PlannedRun, processes: BlankProcesses) -> Trainer:
    """The trainer of `lemon pretrain`."""
    text = BlankText(project.preset.text, run.target_shape.vocab_size)
    return pretraining.trainer_of(
        *(run, _plain_trainee(project, run, run.target_shape, processes), text, Path("blank"), ""),
        source_losses=dict,
        processes=processes,
    )


def _plain_trainee(
    project: Project, run: PlannedRun, shape: LlamaShape, processes: BlankProcesses
) -> LanguageModel:
    model = pretraining.random_model({"model_type": shape.family}, shape, run.seed)
    return pretraining.trainee_of(project, run, model, processes)
