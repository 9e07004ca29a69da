"""One shearing step against a plain training step of the source model, side by side.

Ours: a step of masks and weights together, at its dearest, when every gate is open and no layer is
skipped; with gates on the layers alone (Table 3) and on every axis. Theirs: one plain
language-modelling step of Hugging Face's model, with bfloat16 weights, and with float32 weights
under autocast, which is what ours trains too. Each peak memory is of a process of its own. LEMON's
own step is timed in the same turn: the ratio says how many steps of shearing take the time of one.

    python benchmarks/shearing_step.py --source data/laptop/source
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from functools import partial

import torch
from _side_by_side import Step, batch, in_turn, peak_of, plain_step, ratio_in_words, step_parser
from learning_step import learning_step

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.decoder import Decoder
from lemon.learning.lagrangian import Lagrangian
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks
from lemon.learning.source_weights import SourceLayers
from lemon.learning.student import FusedStudent
from lemon.training.objective import distillation_loss

CPU = torch.device("cpu")
DTYPE = torch.bfloat16


def targets(source: LlamaShape) -> dict[str, LlamaShape]:
    """The two sets of gates: on layers alone, and on every axis."""
    fewer = source.num_key_value_heads * 2 // 3
    return {
        "layers": source.with_depth(source.num_hidden_layers * 3 // 4),
        "every axis": replace(
            source.with_depth(source.num_hidden_layers * 3 // 4),
            hidden_size=source.hidden_size * 2 // 3,
            intermediate_size=source.intermediate_size * 2 // 3,
            num_key_value_heads=fewer,
            num_attention_heads=fewer * source.group_size,
        ),
    }


def shearing_step(options: argparse.Namespace, gates: str) -> Step:
    """Language-modelling loss under sampled gates, constraint, AdamW on weights and gates."""
    source = Checkpoint(options.source)
    weights = SourceLayers(source, dtype=DTYPE, device=CPU, trains=True)
    masks = Masks(source.shape, targets(source.shape)[gates], seed=0, device=CPU)
    lagrangian = Lagrangian(masks, steps=1000, warmup_ratio=0.2)
    decoder = Decoder(source.config, CPU)
    student = FusedStudent(
        weights,
        MaskedFusion(masks, decoder.norm_eps),
        decoder,
        layers_per_segment=source.shape.num_hidden_layers,
        recompute=False,
    )
    gate_parameters = [*masks.parameters()]
    groups = [
        {"params": list(weights.parameters()), "lr": 1e-4},
        # At a rate of 0 the gates stay open, however many steps are timed; the work is the same.
        {"params": gate_parameters, "lr": 0.0},
        {"params": list(lagrangian.parameters()), "lr": 0.1, "maximize": True},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    parameters = [p for group in groups for p in group["params"]]
    tokens = batch(source.shape.vocab_size, options.tokens, options.sequence_length)
    taken = 0

    def step() -> float:
        nonlocal taken
        student.fusion.begin_pass((taken, 0))
        loss = distillation_loss(
            *(student(tokens[:, :-1]).flatten(0, 1), student.head_weight(), None, None),
            tokens[:, 1:].flatten(),
            lm_weight=1.0,
            chunk_tokens=options.chunk,
        ).total
        loss.backward()
        lagrangian.penalty(taken).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken += 1
        return loss.item()

    return step


def main() -> None:
    settings = load_project("laptop").preset.learning
    parser = step_parser(__doc__.splitlines()[0], layers=30)
    parser.add_argument("--chunk", type=int, default=settings.loss_chunk_tokens)
    options = parser.parse_args()
    fusion = argparse.Namespace(
        **{**vars(options), "layers": 22},
        layers_per_segment=settings.layers_per_segment,
        recompute=settings.recompute,
    )
    ours = {name: partial(shearing_step, gates=name) for name in ("layers", "every axis")}
    theirs = {
        "bfloat16 weights": partial(plain_step, with_teacher=False),
        "float32 weights": partial(plain_step, with_teacher=False, master=torch.float32),
    }
    made = {name: make(options) for name, make in (theirs | ours).items()}
    made["LEMON, 22 layers"] = learning_step(fusion)
    seconds = in_turn(made, options.rounds)
    del made
    print(f"{options.tokens} tokens a step, {options.layers} layers, ", end="")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turn")
    for name, values in seconds.items():
        print(f"time    {name}: {statistics.median(values):.2f} s")
    for name in ours:
        for plain in theirs:
            words = ratio_in_words(seconds[name], seconds[plain])
            print(f"time    gates on {name} against {plain}: {words}, at most 1.5")
    print(
        f"time    LEMON against gates on layers: "
        f"{ratio_in_words(seconds['LEMON, 22 layers'], seconds['layers'])}"
    )
    peaks = {name: peak_of(make, options) for name, make in (theirs | ours).items()}
    for name in ours:
        for plain in theirs:
            print(
                f"memory  gates on {name} {peaks[name] / 2**20:.0f} MiB, {plain} "
                f"{peaks[plain] / 2**20:.0f} MiB, ratio {peaks[name] / peaks[plain]:.2f}, "
                "at most 1.3"
            )


if __name__ == "__main__":
    main()
