"""One learning step against its plain counterpart, side by side in one process.

Ours: one step of learning the layer operator, with the laptop preset's settings; once with the
teacher's forward pass and once with its hidden states read from the cache, as in every run of a
seed but the first. Theirs: the teacher's forward pass and one plain language-modelling step of a
Hugging Face student of the same shape with all weights trained. Two more steps are ours with a
cached teacher, all weights without an operator and all weights beside the operators: how many of
each take the time of the operators' budget, for the rows at equal time. Times alternate in one
process and are given as medians; each peak memory is of a process of its own, since a process's
peak never falls.

    python benchmarks/learning_step.py --source data/laptop/source --layers 22
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

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

from lemon.checkpoint import Checkpoint
from lemon.decoder import Decoder
from lemon.learning.fusion import DepthFusion, LayerSelection
from lemon.learning.source_weights import SourceLayers, SourceStack
from lemon.learning.student import FusedStudent, Teacher
from lemon.learning.teacher_cache import CachedTeacher
from lemon.methods import cut
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators


def learning_step(
    options: argparse.Namespace, cache: Path | None = None, *, trains_weights: bool = False
) -> Step:
    """The layer operator's step: teacher, fused student, KL + LM, AdamW on gamma.

    With the folder `cache` the teacher's hidden states are computed once and then read. AdamW
    has the source's weights as well where `trains_weights`.
    """
    source = Checkpoint(options.source)
    device = torch.device("cpu")
    stack = SourceStack(source, dtype=DTYPE, device=device, trains=trains_weights)
    frozen = SourceLayers(source, dtype=DTYPE, device=device) if trains_weights else stack
    decoder = Decoder(source.config, device)
    student = FusedStudent(
        stack,
        DepthFusion(start_of(source, options.layers), device),
        decoder,
        layers_per_segment=options.layers_per_segment,
        recompute=options.recompute,
    )
    teacher = CachedTeacher(frozen, decoder, cache, "") if cache else Teacher(frozen, decoder)
    return taught_step(student, teacher, options)


def weights_step(options: argparse.Namespace, cache: Path) -> Step:
    """The same with all weights of the layers that Cut keeps, and no operator; a cached teacher."""
    source, device = Checkpoint(options.source), torch.device("cpu")
    decoder = Decoder(source.config, device)
    student = FusedStudent(
        SourceLayers(source, dtype=DTYPE, device=device, trains=True),
        LayerSelection(start_of(source, options.layers), range(options.layers)),
        decoder,
        layers_per_segment=options.layers_per_segment,
        recompute=options.recompute,
    )
    frozen = SourceLayers(source, dtype=DTYPE, device=device)
    return taught_step(student, CachedTeacher(frozen, decoder, cache, ""), options)


def start_of(source: Checkpoint, layers: int) -> Operators:
    """Cut's operators to the first `layers` layers."""
    return cut.build(BuildContext(source=source, target=source.shape.with_depth(layers), seed=0))


def main() -> None:
    parser = step_parser(__doc__.splitlines()[0], layers=22)
    add_learning_options(parser)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        steps = {
            "theirs": plain_step(options),
            "ours": learning_step(options),
            "cached": learning_step(options, Path(folder)),
            "weights": weights_step(options, Path(folder)),
            "both": learning_step(options, Path(folder), trains_weights=True),
        }
        seconds = in_turn(steps, options.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.tokens} tokens a step, {options.layers} layers, bfloat16, ", end="")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turn")
    print(
        f"time    teacher + plain step {median['theirs']:.2f} s, ours {median['ours']:.2f} s, "
        f"{ratio_in_words(seconds['ours'], seconds['theirs'])}, at most 1.25"
    )
    print(
        f"        with a cached teacher {median['cached']:.2f} s, "
        f"{ratio_in_words(seconds['cached'], seconds['theirs'])}, at most 0.75"
    )
    for name, label in (("weights", "all weights"), ("both", "operators and all weights")):
        print(
            f"        {label}, a cached teacher {median[name]:.2f} s, "
            f"{ratio_in_words(seconds[name], seconds['cached'])} to operators"
        )
    del steps
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
