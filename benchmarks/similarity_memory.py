"""Peak memory and speed of `lemon cka` on a model of LLaMA-2 7B's shape, in a fresh process.

The promises: peak resident memory < 1.5 GB, and below the bound that the command announces.

    python benchmarks/similarity_memory.py --component q_proj --scratch /big/disk

The 13 GB of weights are eight sharded files in which only the tensors that are read hold values
(random bfloat16, 1.07 GB for q_proj); the others are holes and take no room on the disk. From the
speed the time of all seven matrices of a layer is projected by their floating-point operations.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from lemon.architecture import LlamaShape, layer_tensor_name, tensor_specs
from lemon.checkpoint import INDEX, Checkpoint
from lemon.files.tensor_file import Entry
from lemon.similarity.cka import COMPONENTS
from lemon.similarity.gram import gram_plan

PROMISE = 1.5e9
SHARDS = 8
LLAMA_2_7B = LlamaShape(
    num_hidden_layers=32,
    hidden_size=4096,
    intermediate_size=11008,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=128,
    vocab_size=32000,
)
# VmHWM and not ru_maxrss, which a child process takes over from the process that started it.
CKA = (
    "import sys; from lemon.cli import main; failed = main(sys.argv[1:]); "
    "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
    "print(int(status['VmHWM'].split()[0]) * 1024); sys.exit(failed)"
)


def write_with_holes(folder: Path, shape: LlamaShape, filled: set[str]) -> None:
    """A sharded bfloat16 model: random values in the tensors of `filled`, holes elsewhere."""
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, **shape.sizes()}
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    specs, weight_map = list(tensor_specs(shape)), {}
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        starts, end = {}, 0
        for spec in specs[shard::SHARDS]:
            weight_map[spec.name] = name
            starts[spec.name], end = end, end + Entry("BF16", spec.shape, end).num_bytes
            place = [starts[spec.name], end]
            header[spec.name] = {"dtype": "BF16", "shape": spec.shape, "data_offsets": place}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
            for spec in specs[shard::SHARDS]:
                if spec.name in filled:
                    values = torch.randn(spec.shape, generator=generator).mul_(0.02).bfloat16()
                    file.seek(8 + len(text) + starts[spec.name])
                    file.write(values.view(torch.uint8).numpy().data)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--component", choices=COMPONENTS, default="q_proj")
    parser.add_argument("--scratch", type=Path, help="folder with room for the values")
    options = parser.parse_args()
    shape = LLAMA_2_7B
    filled = {
        layer_tensor_name(type, layer)
        for type in COMPONENTS[options.component]
        for layer in range(shape.num_hidden_layers)
    }
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        source, out = Path(folder) / "source", Path(folder) / "map.csv"
        source.mkdir()
        write_with_holes(source, shape, filled)
        checkpoint = Checkpoint(source)
        flop = {
            type: gram_plan(checkpoint, type).flop for type in COMPONENTS["mha"] + COMPONENTS["ffn"]
        }
        command = [sys.executable, "-c", CKA, "cka", "--source", source, "--out", out]
        command += ["--component", options.component]
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        lines = []
        for line in process.stderr:
            lines.append(line)
            print(line, end="", flush=True)
        peak = int(process.stdout.read())
        if process.wait():
            return process.returncode
        layers = len(out.read_text().splitlines()) - 1
    announced = 1e6 * int(re.search(r"at most (\d+) MB", lines[0])[1])
    seconds = float(re.search(r": ([\d.]+) s,", lines[-1])[1])
    done = sum(flop[type] for type in COMPONENTS[options.component])
    print(
        f"{layers} layers: peak {peak / 1e6:.0f} MB, announced {announced / 1e6:.0f} MB, promised "
        f"{PROMISE / 1e6:.0f} MB; {seconds:.1f} s at {done / seconds / 1e9:.1f} GFLOP/s; all seven "
        f"types ({sum(flop.values()) / 1e12:.1f} TFLOP) would take "
        f"{seconds * sum(flop.values()) / done / 60:.1f} minutes"
    )
    return peak >= min(announced, PROMISE)


if __name__ == "__main__":
    sys.exit(main())
