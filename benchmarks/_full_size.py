"""One learning step of a model's full size: its time, and the most memory that it takes.

The weights are drawn on the device, and the tokens are random: nothing is downloaded.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _gpu_report import Line
from _side_by_side import DTYPE, Step, batch, in_turn, plain_step_of, ratio_in_words, ratios
from torch import Tensor

from lemon.architecture import LlamaShape
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.data.text.order import Tokens
from lemon.flops import forward_flops, step_flops
from lemon.learning.assembly import assemble
from lemon.learning.run import trainer_of
from lemon.machine import gpu_bytes, matmul_rate
from lemon.memory.blanks import BlankCheckpoint, BlankText
from lemon.memory.fit import LEFT_FREE, in_gb
from lemon.memory.live_bytes import LiveBytes
from lemon.memory.training import training_memory
from lemon.methods.build import start_operators
from lemon.plan import UTILISATION
from lemon.pretraining.run import random_model
from lemon.training.loop import Trainer
from lemon.work_left import EFFICIENCY

TIMED = "lemon-cut-75"
REMEMBERED = ("lemon-cut-75", "lemon-cut-trained-75", "shear-75")  # whose memory is compared
SLOWEST = 1.25  # times the plain step, as in learning_step.py
NEAR = 0.1  # of the memory, as in tests/unit/test_training_memory.py
# TFLOP/s of dense products in bfloat16, as NVIDIA states them; the first name that fits counts.
STATED = {
    "H200 NVL": 835,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "RTX 4090": 165,
}


class PeakRate(NamedTuple):
    """How fast a device can be, in FLOP/s, and the share of it that `lemon plan` counts on."""

    rate: float
    words: str
    planned_share: float


class RandomCheckpoint(BlankCheckpoint):
    """A model folder of a shape, whose weights are drawn on a device where they are read."""

    def __init__(self, shape: LlamaShape, dtype: str, device: torch.device) -> None:
        super().__init__(shape, dtype)
        self._device = device

    def tensor(self, name: str) -> Tensor:
        """Weights of a spread of 0.02; gains are 1."""
        weight = torch.ones(self.specs[name].shape, dtype=self.dtype, device=self._device)
        return weight if weight.dim() == 1 else weight.normal_(std=0.02)


class RandomText(BlankText):
    """Packed text of one domain, in which every token is random."""

    def sequence(self, split: str, domain: str, row: int) -> Tokens:
        """One row: int64 [sequence_length + 1]."""
        return np.random.default_rng(row).integers(self.vocab_size, size=self.sequence_length + 1)


def trainer_on(project: Project, run: PlannedRun, device: torch.device) -> Trainer:
    """The trainer of `lemon learn` for a run that starts from its method."""
    shape = project.source_shape()
    source = RandomCheckpoint(shape, project.preset.source.dtype, device)
    start = None if run.method.prunes else start_operators(run, source)
    trainee = assemble(run, project.preset, source, device, start)
    text = RandomText(project.preset.text, shape.vocab_size)
    return trainer_of(run, trainee, text, Path("nowhere"), "")


def peak_of_training(project: Project, run: PlannedRun, device: torch.device) -> int:
    """The most bytes of tensors on the device in two steps and the losses on tune text.

    Those of a GPU are its allocator's.
    """
    gc.collect()  # what an earlier trainer held
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    live = LiveBytes() if device.type == "cpu" else None
    with live or nullcontext():
        trainer = trainer_on(project, run, device)
        if live is None:
            torch.cuda.reset_peak_memory_stats(device)
        else:
            live.peak = live.now
        for step in range(2):
            trainer.take_step(step)
        trainer.tune_losses(exported=False)
    return live.peak if live else torch.cuda.max_memory_allocated(device) - before


def seconds_in_turn(
    project: Project, run: PlannedRun, device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """Seconds of our learning step, and of the teacher's pass with a plain step of the student.

    Both recompute activations if the preset says so. Ours is deterministic, as `lemon learn` is;
    theirs is as torch comes.
    """
    trainer, taken = trainer_on(project, run, device), count()
    with device:
        teacher, student = (
            random_model({"model_type": shape.family}, shape, seed=0)
            for shape in (project.source_shape(), run.target_shape)
        )
    if run.learning.recompute:
        student.activation_checkpointing_enable({"use_reentrant": False})
    shape = project.source_shape()
    tokens = batch(shape.vocab_size, run.tokens_per_step, run.sequence_length)[:, :-1]
    plain = plain_step_of(
        student.to(device, DTYPE), teacher.to(device, DTYPE).eval(), tokens.to(device)
    )
    steps: dict[str, Step] = {
        "theirs": _as_torch_comes(plain),
        "ours": lambda: trainer.take_step(next(taken))[0]["train/loss"],
    }
    return in_turn(steps, rounds)


def _as_torch_comes(step: Step) -> Step:
    """A step in which torch need not be deterministic."""

    def free() -> float:
        torch.use_deterministic_algorithms(False)
        try:
            return step()
        finally:
            torch.use_deterministic_algorithms(True, warn_only=True)

    return free


def speed(
    project: Project, device: torch.device, rounds: int, teraflops: float | None
) -> Iterator[Line]:
    """Lines on the time of a step of operators; `teraflops` is what the device's maker states."""
    run, peak = project.run(TIMED), _peak_rate(project, device, teraflops)
    seconds = seconds_in_turn(project, run, device, rounds)
    ours, theirs = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    yield Line(
        "time of a step",
        f"{ours:.3f} s, {ratio_in_words(seconds['ours'], seconds['theirs'])}",
        f"plain: {theirs:.3f} s",
        f"ratio at most {SLOWEST}",
        holds=statistics.median(ratios(seconds["ours"], seconds["theirs"])) <= SLOWEST,
    )
    tokens = run.tokens_per_step
    yield Line("tokens a second", f"{tokens / ours:,.0f}", f"plain: {tokens / theirs:,.0f}")
    teacher, student = (
        forward_flops(shape, run.sequence_length)
        for shape in (project.source_shape(), run.target_shape)
    )
    least = tokens * (teacher + 3 * student) / peak.rate
    yield Line(f"MFU, of {peak.words}", f"{least / ours:.0%}", f"plain: {least / theirs:.0%}")
    share, planned = step_flops(project, run) / ours / peak.rate, peak.planned_share
    yield Line(
        "all products, of the same",
        f"{share:.0%}",
        f"`lemon plan` counts on {planned:.0%}",
        f"at least {planned:.0%}",
        holds=share >= planned,
    )


def memory(project: Project, run_id: str, trains: str, device: torch.device) -> Iterator[Line]:
    """The line on the memory of a run, which is not trained if `lemon plan` refuses it."""
    run = project.run(run_id)
    planned, there = training_memory(project, run, 1).peak, gpu_bytes()
    what, beside = f"peak memory: {trains}", f"`lemon plan`: {in_gb(planned)} GB"
    if device.type == "cuda" and there is not None and planned > there * (1 - LEFT_FREE):
        yield Line(what, "not run, it does not fit", beside)
        return
    found = peak_of_training(project, run, device)
    yield Line(
        what,
        f"{in_gb(found)} GB, {found / planned:.2f} times",
        beside,
        f"within {NEAR:.0%}",
        holds=abs(found / planned - 1) <= NEAR,
    )


def _peak_rate(project: Project, device: torch.device, teraflops: float | None) -> PeakRate:
    """As its maker states it, or that of a product here."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    stated = teraflops or next((rate for part, rate in STATED.items() if part in name), None)
    if stated is not None:
        return PeakRate(stated * 1e12, f"{stated:,.0f} TFLOP/s as stated", UTILISATION)
    rate = matmul_rate(project.preset.compute.dtype, device.type)
    assert rate is not None
    return PeakRate(rate, f"{rate / 1e12:,.2f} TFLOP/s of a product here", EFFICIENCY)
