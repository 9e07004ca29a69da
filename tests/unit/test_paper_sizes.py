"""Selections between the paper's models: LLaMA-2-7B, from 4096 channels, 11008 neurons and 32
heads to 2560, 6912 and 20, in 32 layers. As matrices they are 11.1 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lemon.configuration.load import load_project
from lemon.operators.file import load_operators, read_metadata

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


@pytest.mark.parametrize("run", ["cut-width", "shear-width"])
def test_a_selection_at_the_paper_sizes_is_small_and_quick(tmp_path, run):
    file = tmp_path / "operators.safetensors"
    command = [sys.executable, "-c", BUILD, str(CONFIG), run, str(file)]
    figures = json.loads(subprocess.check_output(command, text=True, env=os.environ))
    assert file.stat().st_size < 20e6
    assert figures["memory"] < 100e6
    assert figures["seconds"] < 20
    metadata = read_metadata(file)
    assert metadata.target == load_project("paper", CONFIG).run(run).target_shape
    assert (metadata.source.hidden_size, metadata.target.hidden_size) == (4096, 2560)
    operators, _ = load_operators(file)
    assert operators.ffn[31].shape == (6912, 11008)
    assert operators.attn[0].shape == (20 * 128, 32 * 128)
