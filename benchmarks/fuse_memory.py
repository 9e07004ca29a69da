"""Peak memory and time of `lemon fuse` on a synthetic model, against the bound that we promise.

The promise: peak resident memory < 4 x (the two largest tensors) + 300 MB, whatever the depth.

    python benchmarks/fuse_memory.py --gigabytes 3

Weights are random bfloat16 in shards; gamma is dense and random, so that every target layer
reads every source layer. With --width the widths shrink too, by random operators at radius 64;
with --select all operators are random indices instead, in no order.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import INDEX, Checkpoint
from lemon.files.tensor_file import write_tensor_file
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense, Factor, OneHot
from lemon.operators.file import save_operators
from lemon.radii import Radii

ALLOWANCE = 300e6
BASELINE = 220e6  # the interpreter with torch, of that
# VmHWM and not ru_maxrss, which a child process takes over from the process that started it.
FUSE = (
    "import sys; from pathlib import Path; from lemon.operators.fuse import fuse; "
    "fuse(*map(Path, sys.argv[1:])); "
    "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
    "print(int(status['VmHWM'].split()[0]) * 1024)"
)


def shape_of(gigabytes: float) -> LlamaShape:
    """A grouped-query, tied model of about this size in bfloat16."""
    if gigabytes < 1:
        sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8}
    else:
        sizes = {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32}
    shape = LlamaShape(
        num_hidden_layers=1,
        num_key_value_heads=sizes["num_attention_heads"] // 4,
        head_dim=64,
        vocab_size=16384,
        tie_word_embeddings=True,
        **sizes,
    )
    a_layer = shape.with_depth(2).num_parameters - shape.num_parameters
    outside = shape.num_parameters - a_layer
    return shape.with_depth(max(4, round((gigabytes * 1e9 / 2 - outside) / a_layer)))


def write_source(folder: Path, shape: LlamaShape, shards: int = 4) -> None:
    """Random weights, a shard at a time."""
    import torch

    config = {
        "architectures": ["LlamaForCausalLM"],
        **{"model_type": "llama", "rms_norm_eps": 1e-5, **shape.sizes()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    specs = list(tensor_specs(shape))
    weight_map: dict[str, str] = {}
    noise = torch.randn(1 << 20).mul_(0.02).numpy()  # repeated: the values don't matter here
    for shard in range(shards):
        members = specs[shard::shards]
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        weight_map |= {spec.name: name for spec in members}
        tensors = ((spec.name, torch.from_numpy(np.resize(noise, spec.shape))) for spec in members)
        shapes = {spec.name: spec.shape for spec in members}
        write_tensor_file(folder / name, shapes, tensors, format="BF16", metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def random_operators(shape: LlamaShape, *, width: bool, select: bool) -> Operators:
    """Gamma to three quarters of the depth, and width factors where asked: dense or indices."""
    import torch

    target = shape.with_depth(shape.num_hidden_layers * 3 // 4)
    radii = Radii(64, 64, 64)
    if width:
        target = replace(
            target,
            hidden_size=shape.hidden_size * 3 // 4,
            intermediate_size=shape.intermediate_size * 8 // 11 // 64 * 64,
            num_attention_heads=shape.num_attention_heads // 2,
            num_key_value_heads=shape.num_key_value_heads // 2,
        )

    def drawn(outputs: int, inputs: int) -> Factor:
        if select:
            return OneHot(torch.randint(inputs, (outputs,)), inputs)
        return Dense(torch.randn(outputs, inputs) / inputs**0.5)

    factors = {
        name: drawn(*sizes)
        for name, sizes in factor_shapes(shape, target, radii).items()
        if width or name.startswith("gamma")
    }
    return Operators.from_named(factors, shape, target, radii)


def measure(
    folder: Path, gigabytes: float, *, width: bool, select: bool = False
) -> dict[str, float]:
    """Fuse a synthetic model in a process of its own: peak and bound in bytes, time in s."""
    shape = shape_of(gigabytes)
    source_dir, operators_file = folder / "source", folder / "operators.safetensors"
    source_dir.mkdir()
    write_source(source_dir, shape)
    source = Checkpoint(source_dir)
    save_operators(
        operators_file,
        random_operators(shape, width=width, select=select),
        source_digest=source.digest(),
        method="random",
    )
    sizes = sorted(source.num_bytes(name) for name in source.specs)
    started = time.monotonic()
    command = [sys.executable, "-c", FUSE, source_dir, operators_file, folder / "out"]
    peak = int(subprocess.check_output(list(map(str, command)), text=True, env=os.environ))
    return {
        "source": sum(sizes),
        "layers": shape.num_hidden_layers,
        "peak": peak,
        "bound": 4 * sum(sizes[-2:]) + ALLOWANCE,
        "seconds": time.monotonic() - started,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the source")
    parser.add_argument("--width", action="store_true", help="shrink the widths too")
    parser.add_argument("--select", action="store_true", help="indices in place of matrices")
    parser.add_argument("--scratch", type=Path, help="folder with room for twice the size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        figures = measure(
            Path(folder), arguments.gigabytes, width=arguments.width, select=arguments.select
        )
    print(
        f"source {figures['source'] / 1e9:.2f} GB in {figures['layers']} layers: "
        f"peak {figures['peak'] / 1e6:.0f} MB, bound {figures['bound'] / 1e6:.0f} MB, "
        f"{figures['seconds']:.1f} s"
    )
    return figures["peak"] >= figures["bound"]


if __name__ == "__main__":
    sys.exit(main())
