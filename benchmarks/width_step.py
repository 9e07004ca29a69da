"""One step of learning widths against its plain counterpart, side by side in one process.

Ours: one step of learning the dimension operator, with the laptop preset's settings. Theirs: the
teacher's forward pass and one plain language-modelling step of a Hugging Face student of the same
shape with all weights trained. Measured as in learning_step.py.

    python benchmarks/width_step.py --source data/laptop/source --radius 2

The projection to the paper's step counts multiply-adds: what a token costs grows with the batch,
what building the student's weights costs does not.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
from _side_by_side import (
    DTYPE,
    Step,
    add_learning_options,
    in_turn,
    peak_of,
    plain_step,
    ratio_in_words,
    step_parser,
    taught_step,
)
from torch.utils.flop_counter import FlopCounterMode

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.configuration.load import load_project
from lemon.decoder import Decoder
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.student import FusedStudent, Teacher
from lemon.methods import cut
from lemon.methods.context import BuildContext
from lemon.radii import Radii

PAPER_TOKENS = 131_072  # 32 sequences of 4096 tokens


def width_step(options: argparse.Namespace) -> Step:
    """The dimension operator's step: teacher, fused student, KL + LM, AdamW on B and A."""
    source, device = Checkpoint(options.source), torch.device("cpu")
    radii = Radii(options.radius, options.attention_radius, options.radius)
    start = cut.build(BuildContext(source=source, target=target_shape(), radii=radii))
    layers = ResidualLayers(source, dtype=DTYPE, device=device, radius=options.radius)
    student = FusedStudent(
        layers,
        DimensionFusion(start, device, tied=True),
        Decoder(config_of(start.target, source.config), device),
        layers_per_segment=options.layers_per_segment,
        recompute=options.recompute,
    )
    teacher = Teacher(layers, Decoder(source.config, device))
    return taught_step(student, teacher, options)


def target_shape() -> LlamaShape:
    """The widths of the laptop preset's target, at the source's depth."""
    return load_project("laptop").run("cut-width").target_shape


def flops(step: Step) -> float:
    """Floating-point operations of the matrix products of one step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def projected_ratio(options: argparse.Namespace) -> float:
    """The ratio of counted operations at the paper's tokens a step.

    Operations are a + b n in the tokens n of a step, at one length of sequences; two counts give a
    and b.
    """
    counted: dict[str, list[float]] = {"ours": [], "theirs": []}
    few = [options.sequence_length, 2 * options.sequence_length]
    for tokens in few:
        smaller = argparse.Namespace(**{**vars(options), "tokens": tokens})
        counted["ours"].append(flops(width_step(smaller)))
        counted["theirs"].append(flops(plain_step(smaller, widths=target_shape())))
    at_paper = {
        name: first + (second - first) * (PAPER_TOKENS - few[0]) / (few[1] - few[0])
        for name, (first, second) in counted.items()
    }
    return at_paper["ours"] / at_paper["theirs"]


def main() -> None:
    shape = target_shape()
    parser = step_parser(__doc__.splitlines()[0], layers=shape.num_hidden_layers)
    parser.add_argument("--radius", type=int, default=2, help="of the stream and the FFN")
    parser.add_argument("--attention-radius", type=int, default=2)
    add_learning_options(parser)
    options = parser.parse_args()

    steps = {"theirs": plain_step(options, widths=shape), "ours": width_step(options)}
    seconds = in_turn(steps, options.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{options.tokens} tokens a step, {options.layers} layers, r = {options.radius}, bfloat16, "
    )
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turn")
    print(
        f"time    teacher + plain step {median['theirs']:.2f} s, ours {median['ours']:.2f} s, "
        f"{ratio_in_words(seconds['ours'], seconds['theirs'])}, at most 1.6"
    )
    print(
        f"counted {flops(steps['ours']) / flops(steps['theirs']):.2f} times the operations at "
        f"{options.tokens} tokens; at the paper's {PAPER_TOKENS:,} tokens a step, projected, "
        f"{projected_ratio(options):.2f} times"
    )
    del steps
    source = Checkpoint(options.source).shape
    # The teacher's weights are added by arithmetic, so that only the plain step is measured.
    plain = peak_of(partial(plain_step, with_teacher=False, widths=shape), options)
    learning = peak_of(width_step, options)
    allowed = plain + source.num_parameters * DTYPE.itemsize
    print(
        f"memory  plain step {plain / 2**20:.0f} MiB, with the teacher's weights "
        f"{allowed / 2**20:.0f} MiB, ours {learning / 2**20:.0f} MiB, "
        f"ratio {learning / allowed:.2f}, at most 1.3"
    )


if __name__ == "__main__":
    main()
