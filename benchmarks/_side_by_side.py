"""What the step benchmarks share: the plain step, timing in turn, and peaks of fresh processes."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from lemon.architecture import LlamaShape
from lemon.configuration.load import load_project
from lemon.learning.student import FusedStudent, Teacher
from lemon.provenance import peak_memory_bytes
from lemon.training.objective import distillation_loss

Step = Callable[[], float]
DTYPE = torch.bfloat16


def batch(vocab_size: int, tokens: int, sequence_length: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = tokens // sequence_length
    return torch.randint(vocab_size, (rows, sequence_length + 1), generator=generator)


def plain_step(
    options: argparse.Namespace,
    with_teacher: bool = True,
    master: torch.dtype = DTYPE,
    widths: LlamaShape | None = None,
) -> Step:
    """Teacher forward, then student forward, backward and AdamW on every weight.

    Weights and optimiser states are in `master`; the passes are in bfloat16 either way. The student
    has the source's widths, or those of `widths`.
    """
    config = LlamaForCausalLM.config_class.from_pretrained(options.source)
    for name, size in vars(widths).items() if widths else ():
        setattr(config, name, size)
    config.num_hidden_layers = options.layers
    student = LlamaForCausalLM(config).to(master)
    tokens = batch(config.vocab_size, options.tokens, options.sequence_length)[:, :-1]
    teacher = (
        LlamaForCausalLM.from_pretrained(options.source, dtype=DTYPE).eval()
        if with_teacher
        else None
    )
    return plain_step_of(student, teacher, tokens)


def plain_step_of(
    student: PreTrainedModel, teacher: PreTrainedModel | None, tokens: Tensor
) -> Step:
    """The plain step of these models, which are on the device of the tokens [B, T]."""
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, betas=(0.9, 0.95))

    def step() -> float:
        with torch.autocast(tokens.device.type, DTYPE, enabled=student.dtype != DTYPE):
            if teacher is not None:
                with torch.no_grad():
                    teacher(tokens, use_cache=False)
            loss = student(tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def taught_step(student: FusedStudent, teacher: Teacher, options: argparse.Namespace) -> Step:
    """Teacher forward, fused student, KL + LM, AdamW on what trains."""
    parameters = [one for one in student.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(  # as the learning loop has it
        parameters, lr=5e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    vocab_size = student.source.shape.vocab_size
    tokens = batch(vocab_size, options.tokens, options.sequence_length)

    def step() -> float:
        inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()
        loss = distillation_loss(
            student(inputs).flatten(0, 1),
            student.head_weight(),
            teacher(inputs).flatten(0, 1),
            teacher.head_weight(),
            labels,
            lm_weight=0.5,
            chunk_tokens=options.chunk,
        )
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.total.item()

    return step


def add_learning_options(parser: argparse.ArgumentParser) -> None:
    """How a fused student runs; the defaults are the laptop preset's."""
    settings = load_project("laptop").preset.learning
    parser.add_argument("--layers-per-segment", type=int, default=settings.layers_per_segment)
    parser.add_argument(
        "--recompute", action=argparse.BooleanOptionalAction, default=settings.recompute
    )
    parser.add_argument("--chunk", type=int, default=settings.loss_chunk_tokens)


def in_turn(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, the steps taken in turn after one round that does not count."""
    for step in steps.values():
        _take(step)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            _take(step)
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def _take(step: Step) -> None:
    """Take a step, to its end on a GPU too."""
    step()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """The ratio of each round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def ratio_in_words(ours: list[float], theirs: list[float]) -> str:
    """The ratio round by round: its median and its ends."""
    every = ratios(ours, theirs)
    return f"ratio {statistics.median(every):.2f} (from {min(every):.2f} to {max(every):.2f})"


def peak_of(make: Callable[[argparse.Namespace], Step], options: argparse.Namespace) -> int:
    """Peak resident bytes of a fresh process that makes and takes three steps."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (make, options))


def _peak(make: Callable[[argparse.Namespace], Step], options: argparse.Namespace) -> int:
    step = make(options)
    for _ in range(3):
        step()
    return peak_memory_bytes()


def step_parser(about: str, layers: int) -> argparse.ArgumentParser:
    """The options of every step benchmark."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--source", type=Path, default=Path("data/laptop/source"))
    parser.add_argument("--layers", type=int, default=layers)
    parser.add_argument("--tokens", type=int, default=1024, help="of one step")
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    return parser
