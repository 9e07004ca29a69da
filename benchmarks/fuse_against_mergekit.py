"""`lemon fuse` beside mergekit on a synthetic model: the same weights, time and peak memory.

Two merges that mergekit knows too: layers that are kept as they are (its `passthrough`), and
weighted means of neighbouring layers (its `linear`). Each round starts a fresh process for either,
in turn. What is kept has to be equal bit for bit, a weighted mean to one step of bfloat16, since
the two round at different places. The promise: at most its time and at most half its memory.

    python benchmarks/fuse_against_mergekit.py --gigabytes 3

mergekit is no part of the environment; `make bench` installs it. It takes one folder as one model,
so that the second of two neighbouring layers is read through a link to the folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuse_memory import FUSE, shape_of, write_source

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, Factor, OneHot
from lemon.operators.file import save_operators
from lemon.radii import Radii

WEIGHTS = (0.7, 0.3)  # of a layer and the next
# As mergekit-yaml does; its peak is read in the process itself, as that of FUSE.
MERGE = (
    "import sys, yaml; from mergekit.config import MergeConfiguration; "
    "from mergekit.merge import run_merge; from mergekit.options import MergeOptions; "
    "config = MergeConfiguration.model_validate(yaml.safe_load(open(sys.argv[1]))); "
    "run_merge(config, sys.argv[2], MergeOptions(copy_tokenizer=False, quiet=True)); "
    "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
    "print(int(status['VmHWM'].split()[0]) * 1024)"
)


class Cost(NamedTuple):
    """Seconds and peak resident bytes of one process."""

    seconds: float
    peak: int


def merges(source: Path, twin: Path, kept: int) -> dict[str, tuple[dict[str, Any], Factor]]:
    """By name: mergekit's configuration, and our gamma [L2, L1] for L2 `kept` layers."""
    depth = Checkpoint(source).shape.num_hidden_layers
    first = {"model": str(source), "layer_range": [0, kept]}
    second = {"model": str(twin), "layer_range": [1, kept + 1]}
    weighted = [
        {**side, "parameters": {"weight": weight}}
        for side, weight in zip((first, second), WEIGHTS, strict=True)
    ]
    mean = torch.zeros(kept, depth)
    for offset, weight in enumerate(WEIGHTS):
        mean[range(kept), range(offset, kept + offset)] = weight
    shared = {"dtype": "bfloat16"}
    return {
        "passthrough": (
            {"merge_method": "passthrough", "slices": [{"sources": [first]}], **shared},
            OneHot(torch.arange(kept), depth),
        ),
        "linear": (
            {"merge_method": "linear", "slices": [{"sources": weighted}], **shared},
            Dense(mean),
        ),
    }


def run(script: str, *arguments: Path) -> Cost:
    """Run a script that prints its peak, in a process of its own."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", script, *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stderr)
    return Cost(time.perf_counter() - begun, int(found.stdout.split()[-1]))


def steps_apart(ours: Path, theirs: Path) -> int:
    """The largest difference of two models' weights, in steps of bfloat16."""
    one, other = Checkpoint(ours), Checkpoint(theirs)
    assert set(one.specs) == set(other.specs)
    most = 0
    for name in one.specs:
        # The bits of a finite bfloat16 without its sign count its steps from zero.
        counts = []
        for model in (one, other):
            bits = model.tensor(name).to(torch.bfloat16).view(torch.int16).to(torch.int32)
            counts.append(torch.where(bits < 0, -(bits & 0x7FFF), bits))
        most = max(most, int((counts[0] - counts[1]).abs().max()))
    return most


def compare(folder: Path, gigabytes: float, rounds: int) -> bool:
    """Run both merges `rounds` times and print how they compare; whether the promise is kept."""
    source, twin, operators = (folder / part for part in ("source", "twin", "operators"))
    ours, theirs, config = (folder / part for part in ("ours", "theirs", "config.yaml"))
    shape = shape_of(gigabytes)
    source.mkdir()
    write_source(source, shape)
    twin.symlink_to(source)
    target = shape.with_depth(shape.num_hidden_layers * 3 // 4)
    kept = True
    for merge, (settings, gamma) in merges(source, twin, target.num_hidden_layers).items():
        config.write_text(json.dumps(settings))
        factors = {f"gamma.{type}": gamma for type in LAYER_TYPES}
        save_operators(
            operators,
            Operators.from_named(factors, shape, target, Radii()),
            source_digest=Checkpoint(source).digest(),
            method="random",
        )
        pairs: list[tuple[Cost, Cost]] = []
        for _ in range(rounds):
            for out in (ours, theirs):
                shutil.rmtree(out, ignore_errors=True)
            pairs.append((run(FUSE, source, operators, ours), run(MERGE, config, theirs)))
        apart = steps_apart(ours, theirs)
        times = [one.seconds / other.seconds for one, other in pairs]
        time_ratio = statistics.median(times)
        peaks = [statistics.median(cost.peak for cost in side) for side in zip(*pairs, strict=True)]
        print(
            f"{merge}: {apart} steps of bfloat16 apart; time ratio {time_ratio:.2f} (from "
            f"{min(times):.2f} to {max(times):.2f}), at most 1; peak {peaks[0] / 1e6:.0f} MB "
            f"against {peaks[1] / 1e6:.0f} MB, ratio {peaks[0] / peaks[1]:.2f}, at most 0.5"
        )
        exact = apart <= (0 if merge == "passthrough" else 1)
        kept &= exact and time_ratio <= 1 and peaks[0] <= 0.5 * peaks[1]
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder with room for three times the size")
    options = parser.parse_args()
    if find_spec("mergekit") is None:
        print("mergekit is absent, nothing is compared; `make bench` installs it")
        return 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        return not compare(Path(folder), options.gigabytes, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
