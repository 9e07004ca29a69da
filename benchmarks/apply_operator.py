"""What it costs to apply a dimension operator, against its receptive field r.

Paper, section 3.4: `(a (x) I_r) W` takes 1 / r of the multiplications of a full operator. Timed on
the axes of the laptop source, all its layers in a pass, with random weights in the compute format
and operators in float32; no model is needed. The passes of all r are taken in turn, forward alone
and with the gradients of operator and weight. Beside the times stand the FLOPs that torch counts.

    python benchmarks/apply_operator.py --rounds 9
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
from _side_by_side import DTYPE, Step, in_turn
from torch.utils.flop_counter import FlopCounterMode

from lemon.architecture import Axis
from lemon.configuration.load import load_project
from lemon.operators.factor import Dense
from lemon.operators.receptive_field import AxisMap
from lemon.radii import legal_radii

RADII = (1, 2, 4, 8, 64)


def passes(large: int, small: int, columns: int, layers: int, radius: int, backward: bool) -> Step:
    """One operator a layer on a weight [large, columns] of that layer, for all layers."""
    generator = torch.Generator().manual_seed(radius)
    draw = partial(torch.randn, generator=generator)
    factors = [draw(small // radius, large // radius) for _ in range(layers)]
    weights = [draw(large, columns).to(DTYPE) for _ in range(layers)]
    gradient = draw(small, columns).to(DTYPE)
    for tensor in (*factors, *weights):
        tensor.requires_grad_(backward)

    def step() -> float:
        for factor, weight in zip(factors, weights, strict=True):
            mapped = AxisMap(Dense(factor), radius).rows(weight)
            if backward:
                torch.autograd.grad(mapped, (factor, weight), gradient)
        return 0.0

    return step


def counted(step: Step) -> int:
    """FLOPs of one pass."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def compare(
    sizes: tuple[int, int, int], radii: list[int], backward: bool, options: argparse.Namespace
) -> None:
    """Print the times of all r, taken in turn, relative to those of the first, r = 1."""
    steps = {str(radius): passes(*sizes, options.layers, radius, backward) for radius in radii}
    flops = {name: counted(step) for name, step in steps.items()}
    seconds = in_turn(steps, options.rounds)
    first = str(radii[0])
    for name, taken in seconds.items():
        ratios = [own / full for own, full in zip(taken, seconds[first], strict=True)]
        print(
            f"  {'forward+backward' if backward else 'forward':16}  r {name:>3}  "
            f"{1e3 * statistics.median(taken):8.1f} ms  time {statistics.median(ratios):.3f} "
            f"(from {min(ratios):.3f} to {max(ratios):.3f})  "
            f"FLOPs {flops[name] / flops[first]:.3f}  ideal {1 / int(name):.3f}"
        )


def main() -> None:
    project = load_project("laptop")
    source, target = project.source_shape(), project.run("cut-width").target_shape
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=source.num_hidden_layers)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()

    print(f"{options.layers} layers, {DTYPE}, {torch.get_num_threads()} threads, ", end="")
    print(f"{options.rounds} rounds in turn; times and FLOPs relative to r = 1")
    # The FFN axis of a weight whose stream is mapped already, or not; B on a gate projection.
    cases = (
        (Axis.FFN, target.hidden_size),
        (Axis.FFN, source.hidden_size),
        (Axis.HIDDEN, source.intermediate_size),
    )
    for axis, columns in cases:
        radii = [radius for radius in RADII if radius in legal_radii(axis, source, target)]
        sizes = (source.axis_size(axis), target.axis_size(axis), columns)
        print(f"{axis} axis, {sizes[0]} -> {sizes[1]}, {columns} columns")
        for backward in (False, True):
            compare(sizes, radii, backward, options)


if __name__ == "__main__":
    main()
