"""One learning step against its plain counterpart, side by side in one process.

Ours: one step of learning the layer operator, with the laptop preset's settings. Theirs: the
teacher's forward pass and one plain language-modelling step of a Hugging Face student of the same
shape with all weights trained. Times alternate in one process and are given as medians; each peak
memory is of a process of its own, since a process's peak never falls.

    python benchmarks/learning_step.py --source data/laptop/source --layers 22
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.learning.decoder import Decoder
from lemon.learning.fusion import DepthFusion
from lemon.learning.objective import distillation_loss
from lemon.learning.source_weights import SourceStack
from lemon.learning.student import FusedStudent, teacher_hidden_states
from lemon.methods import BUILDERS, BuildContext
from lemon.presets import load_project
from lemon.provenance import peak_memory_bytes

Step = Callable[[], float]
DTYPE = torch.bfloat16


def batch(vocab_size: int, tokens: int, sequence_length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = tokens // sequence_length
    return torch.randint(vocab_size, (rows, sequence_length + 1), generator=generator)


def plain_step(options: argparse.Namespace, with_teacher: bool = True) -> Step:
    """Teacher forward, then student forward, backward and AdamW on every weight."""
    config = LlamaForCausalLM.config_class.from_pretrained(options.source)
    config.num_hidden_layers = options.layers
    student = LlamaForCausalLM(config).to(DTYPE).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, betas=(0.9, 0.95))
    tokens = batch(config.vocab_size, options.tokens, options.sequence_length)[:, :-1]
    teacher = (
        LlamaForCausalLM.from_pretrained(options.source, dtype=DTYPE).eval()
        if with_teacher
        else None
    )

    def step() -> float:
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


def learning_step(options: argparse.Namespace) -> Step:
    """The layer operator's step: teacher, fused student, KL + LM, AdamW on gamma."""
    source = Checkpoint(options.source)
    target = source.shape.with_depth(options.layers)
    start = BUILDERS["cut"](BuildContext(source=source, target=target, seed=0))
    device = torch.device("cpu")
    stack = SourceStack(source, dtype=DTYPE, device=device)
    decoder = Decoder(source.config, device)
    student = FusedStudent(
        stack,
        DepthFusion(start, device),
        decoder,
        layers_per_segment=options.layers_per_segment,
        recompute=options.recompute,
    )
    parameters = list(student.fusion.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, betas=(0.9, 0.95), weight_decay=0.0)
    tokens = batch(source.shape.vocab_size, options.tokens, options.sequence_length)

    def step() -> float:
        inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()
        loss = distillation_loss(
            student(inputs).flatten(0, 1),
            student.head_weight(),
            teacher_hidden_states(stack, decoder, inputs).flatten(0, 1),
            stack.head_weight(),
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


def peak_of(make: Callable[[argparse.Namespace], Step], options: argparse.Namespace) -> int:
    """Peak resident bytes of a fresh process that makes and takes three steps."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (make, options))


def _peak(make: Callable[[argparse.Namespace], Step], options: argparse.Namespace) -> int:
    step = make(options)
    for _ in range(3):
        step()
    return peak_memory_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/laptop/source"))
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--tokens", type=int, default=1024, help="of one step")
    parser.add_argument("--sequence-length", type=int, default=256)
    settings = load_project("laptop").preset.learning
    parser.add_argument("--layers-per-segment", type=int, default=settings.layers_per_segment)
    parser.add_argument(
        "--recompute", action=argparse.BooleanOptionalAction, default=settings.recompute
    )
    parser.add_argument("--chunk", type=int, default=settings.loss_chunk_tokens)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()

    theirs, ours = plain_step(options), learning_step(options)
    theirs(), ours()
    ratios, seconds = [], {"theirs": [], "ours": []}
    for _ in range(options.rounds):
        for name, step in (("theirs", theirs), ("ours", ours)):
            begun = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begun)
        ratios.append(seconds["ours"][-1] / seconds["theirs"][-1])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.tokens} tokens a step, {options.layers} layers, bfloat16, ", end="")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turn")
    print(
        f"time    teacher + plain step {median['theirs']:.2f} s, ours {median['ours']:.2f} s, "
        f"ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}), "
        "at most 1.25"
    )
    del theirs, ours
    shape = Checkpoint(options.source).shape
    # The teacher's weights are added by arithmetic, so that only the plain step is measured.
    plain = peak_of(partial(plain_step, with_teacher=False), options)
    learning = peak_of(learning_step, options)
    allowed = plain + shape.num_parameters * DTYPE.itemsize
    print(
        f"memory  plain step {plain / 2**20:.0f} MiB, with the teacher's weights "
        f"{allowed / 2**20:.0f} MiB, ours {learning / 2**20:.0f} MiB, "
        f"ratio {learning / allowed:.2f}, at most 1.15"
    )


if __name__ == "__main__":
    main()
