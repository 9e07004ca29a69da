"""Operators for LLaMA-2-7B, of 32 layers, 4096 channels, 11008 neurons and 32 heads: to 24 or 16
layers, or to 2560 channels, 6912 neurons and 20 heads, for which matrices would be 11.1 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lemon.architecture import LlamaShape
from lemon.configuration.load import load_project
from lemon.configuration.row_lookups import as_many_tied_layers
from lemon.methods import come, cut, ff_merge
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, OneHot, keeping
from lemon.operators.file import load_operators, read_metadata, save_operators
from lemon.radii import Radii

LARGEST = 1e6  # bytes of a file of selections, permutations and gamma
CONFIG = Path(__file__).parents[2] / "config"
BUILD = """
import json, random, sys, time
from pathlib import Path
from types import SimpleNamespace
from lemon.configuration.load import load_project
from lemon.methods import cut
from lemon.methods.context import BuildContext
from lemon.methods.permutation import leading_permutation, truncation
from lemon.methods.shear import Selection, selection_operators
from lemon.operators.file import load_operators, save_operators
from lemon.radii import Radii
import torch

def peak():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) * 1024

config, run, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
project = load_project("paper", config)
source, target = project.source_shape(), project.run(run).target_shape
drawn = random.Random(0)
keep = lambda large, small: sorted(drawn.sample(range(large), small))
layers = range(source.num_hidden_layers)
torch.zeros(8).index_select(0, torch.tensor([1]))
before, started = peak(), time.monotonic()
if run == "cut-width":
    operators = cut.build(BuildContext(SimpleNamespace(shape=source), target))
else:
    operators = selection_operators(source, target, Selection(
        hidden=keep(source.hidden_size, target.hidden_size),
        head=[keep(source.num_key_value_heads, target.num_key_value_heads) for _ in layers],
        ffn=[keep(source.intermediate_size, target.intermediate_size) for _ in layers],
    ))
save_operators(out, operators, source_digest="0" * 64, method="selection")
load_operators(out)
leading_permutation(operators)
truncation(operators, Radii(2, 128, 2))
print(json.dumps({"seconds": time.monotonic() - started, "memory": peak() - before}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("run", ["cut-width", "shear-width"])
def test_a_selection_at_the_paper_sizes_is_small_and_quick(tmp_path, run):
    file = tmp_path / "operators.safetensors"
    command = [sys.executable, "-c", BUILD, str(CONFIG), run, str(file)]
    figures = json.loads(subprocess.check_output(command, text=True, env=os.environ))
    assert file.stat().st_size < LARGEST
    assert figures["memory"] < 100e6
    assert figures["seconds"] < 20
    metadata = read_metadata(file)
    assert metadata.target == load_project("paper", CONFIG).run(run).target_shape
    assert (metadata.source.hidden_size, metadata.target.hidden_size) == (4096, 2560)
    operators, _ = load_operators(file)
    assert operators.ffn[31].shape == (6912, 11008)
    assert operators.attn[0].shape == (20 * 128, 32 * 128)


SHAPE = LlamaShape(32, 4096, 11008, 32, 32, 128, 32000)


def of_come(context: BuildContext) -> Operators:
    """CoMe's merges of pairs, scores and shares drawn at random."""
    state = [come.unmerged(context, layer) for layer in range(SHAPE.num_hidden_layers)]
    while len(state) > context.target.num_hidden_layers:
        heads = [torch.rand(SHAPE.num_key_value_heads) for _ in state]
        ffn = [torch.rand(SHAPE.intermediate_size) for _ in state]
        first = int(torch.randint(len(state) - 1, ()))
        measured = come.Measured([], [0.0] * len(state), heads, ffn)
        state = come.merge(state, come.Merge.of(measured, first, float(torch.rand(()))))
    return come.operators_of(context, state)


def orders(layers: range, count: int) -> dict[int, OneHot]:
    """A permutation of `count` units for each layer."""
    return {layer: OneHot(torch.randperm(count), count) for layer in layers}


def of_ff_merge(context: BuildContext) -> Operators:
    window = range(as_many_tied_layers(SHAPE, context.target))
    ffn = orders(window[1:], SHAPE.intermediate_size)
    return ff_merge.tied(replace(context, target=SHAPE), window, ffn)


def of_aligned(context: BuildContext) -> Operators:
    layers = range(1, SHAPE.num_hidden_layers)
    return replace(
        cut.build(context),
        radii=Radii(attention=SHAPE.head_dim),
        attn=orders(layers, SHAPE.num_key_value_heads),
        ffn=orders(layers, SHAPE.intermediate_size),
    )


def of_a_selection(context: BuildContext) -> Operators:
    """As ShortGPT, SLEB and the dropped window keep layers."""
    layers = torch.randperm(SHAPE.num_hidden_layers)[: context.target.num_hidden_layers]
    return context.keeping_layers(sorted(layers.tolist()))


def of_sums(context: BuildContext) -> Operators:
    """As LaCo, MKA and CoMe's weighted sums mix layers."""
    depth = context.target.num_hidden_layers
    gamma = Dense(torch.randn(depth, SHAPE.num_hidden_layers))
    return context.layer_operators(gamma, keeping(range(depth), SHAPE.num_hidden_layers))


@pytest.mark.parametrize("depth", [24, 16])
@pytest.mark.parametrize("build", [of_come, of_ff_merge, of_aligned, of_a_selection, of_sums])
def test_operators_that_move_or_mix_layers_are_below_a_megabyte(tmp_path, build, depth):
    torch.manual_seed(0)
    source = SimpleNamespace(shape=SHAPE)
    operators = build(BuildContext(source, SHAPE.with_depth(depth)))
    file = tmp_path / "operators.safetensors"
    save_operators(file, operators, source_digest="0" * 64, method="come")
    assert file.stat().st_size < LARGEST
    again, _ = load_operators(file)
    for (name, before), (_, after) in zip(
        operators.named_factors(), again.named_factors(), strict=True
    ):
        assert type(after) is type(before), name
        values = [f.chosen if isinstance(f, OneHot) else f.matrix for f in (before, after)]
        assert values[0].equal(values[1]), name
