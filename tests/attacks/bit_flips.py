"""Flip single bits in what a smoke run left, and read each file as the next stage would.

    python tests/attacks/bit_flips.py --flips 10000 --built FOLDER --scratch DIR

FOLDER is a checkout in which `snakemake table3 figure2 --config preset=smoke` is complete. Its
files are copied to DIR. Every flip must be refused by name, or have no effect on what is read; one
that changes what is read, or ends in another error than the program's own, is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.data.fetch.assets import read_lock
from lemon.data.mirror.check_rows import check_rows
from lemon.data.text.packing import PackedText
from lemon.data.text.tokenization import require_tokenizer
from lemon.errors import LemonError
from lemon.events import read_events
from lemon.files import manifest
from lemon.files.json_file import read_json
from lemon.files.manifest import read_manifest
from lemon.operators.file import load_operators
from lemon.reporting.facts.outcomes import read_run
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.tracking.records import table_records
from lemon.training.checkpoints import TrainingCheckpoints

SUITES = {"outcomes": "ablation", "outcomes-main": "main", "outcomes-dense": "dense"}
FOLDERS = ("data/smoke", "runs/smoke", "results/smoke")
# Read by no stage, or written anew by whoever finds them damaged.
NOT_READ = ("config.yaml", "masks.csv", ".in-use")

Reader = Callable[[], Any]


def reader_of(path: Path, project: Any) -> Reader | None:
    """How the next stage reads a file; None for one that no stage reads."""
    folder, parts = path.parent, path.parts
    if path.name in NOT_READ or "tracking" in parts:
        return None
    if path.name == "assets.lock.json":
        return lambda: read_lock(path)
    if "checkpoints" in parts:
        return lambda: _newest_step(folder)
    if "text" in parts:
        return lambda: _text(folder if path.name == "manifest.json" else folder.parent)
    if "tasks" in parts:
        root = Path("data/smoke/tasks")
        return lambda: _rows(root, path)
    if "figures" in parts or "tables" in parts:
        name = path.name.partition(".")[0]
        return lambda: _rendered(project, name)
    if "similarity" in parts:
        return lambda: _map(path)
    if folder.name in SUITES:
        return lambda: _outcomes(folder)
    if (folder / "config.json").is_file():
        return lambda: _model(folder)
    if path.name in ("operators.safetensors", "metrics.jsonl", "manifest.json"):
        return lambda: _run(folder)
    return None


def _model(folder: Path) -> Any:
    model = Checkpoint(folder)
    texts = [(folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")]
    return model.digest(), model.config, require_tokenizer(folder), texts, _said(folder)


def _text(folder: Path) -> Any:
    text = PackedText(folder)
    rows = {key: rows.tobytes() for key, rows in text._rows.items()}
    return text.digest, text.weights, text.sequence_length, text.vocab_size, rows, _said(folder)


def _rows(root: Path, path: Path) -> Any:
    places = {p.parent for p in root.glob("*/*/README.md")}
    for place in sorted(places):
        check_rows(place)
    content = path.read_bytes() if path.name != "manifest.json" else b""
    return content, _said(root)


def _rendered(project: Any, name: str) -> Any:
    results = Path("results/smoke")
    records = table_records(project, name, Path("runs/smoke"), results)
    files = [(file.name, file.read_bytes()) for r in records for file in r.files]
    kept = [(n, c) for n, c in files if not n.endswith(".manifest.json")]
    numbers = []
    if project.entry(name).is_figure:
        read = read_numbers(results / "figures", name)
        numbers = [read.frame.to_csv(), repr(read.words)]
    return [r.digest for r in records], kept, numbers


def _map(path: Path) -> Any:
    from lemon.configuration.figure_specs import SimilarityMap
    from lemon.reporting.facts.similarity_maps import read_map

    run, _, of, measure, name = path.relative_to("runs/smoke").parts
    component = name.partition(".")[0]
    return read_map(Path("runs/smoke"), SimilarityMap(run, of, measure, component)).tobytes()  # type: ignore[arg-type]


def _outcomes(folder: Path) -> Any:
    told = read_manifest(folder / "manifest.json")
    result = read_run(folder.parents[1], folder.parent.name, told["tasks"], SUITES[folder.name])
    values = [result.correct, result.ids]
    return (
        [{k: v.tolist() for k, v in one.items()} for one in values],
        result.heldout and result.heldout.loss,
        told,
    )


def _run(folder: Path) -> Any:
    operators, metadata = load_operators(folder / "operators.safetensors")
    tensors = {name: factor.dense().numpy().tobytes() for name, factor in operators.named_factors()}
    return tensors, metadata, read_events(folder / "metrics.jsonl"), _said(folder)


def _newest_step(folder: Path) -> Any:
    """Of two checkpoints; a damaged one is removed, and the other has the same parameters."""
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    with contextlib.redirect_stderr(io.StringIO()) as told:
        state = TrainingCheckpoints(folder, "key").newest()
    for path, content in kept.items():
        path.write_bytes(content)
    if "damaged" in told.getvalue():
        raise LemonError(told.getvalue())
    return None if state is None else {n: t.tolist() for n, t in state["parameters"].items()}


def _said(folder: Path) -> Any:
    """What a manifest tells later stages; which digests it lists shows in what they accept."""
    return read_json(folder / "manifest.json", dict[str, Any], "")


def checkpoints(folder: Path) -> None:
    import torch

    made = torch.Generator().manual_seed(0)
    for step in (10, 20):
        parameters = {"gamma": torch.randn(6, 4, generator=made)}
        TrainingCheckpoints(folder, "key").save(
            step, {"parameters": parameters, "events": "", "wall_s": 1}
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--built", type=Path, required=True, help="checkout with a smoke build")
    parser.add_argument("--scratch", type=Path, required=True, help="new folder for the copy")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    for name in FOLDERS:
        shutil.copytree(arguments.built / name, scratch / name)
    shutil.copytree(arguments.built / "config", scratch / "config")
    os.chdir(scratch)
    checkpoints(Path("runs/smoke/checkpoints"))
    project = load_project("smoke")
    paths = [p for top in FOLDERS for p in sorted(Path(top).rglob("*")) if p.is_file()]
    readers = {path: reader_of(path, project) for path in paths}
    sound = {path: reader() for path, reader in readers.items() if reader}
    draw, counts, by_kind = random.Random(arguments.seed), Counter[str](), Counter[str]()
    failures: list[str] = []
    for number in range(arguments.flips):
        path = draw.choice(paths)
        content = path.read_bytes()
        if not content:
            counts["empty file"] += 1
            continue
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        verdict = judged(path, readers[path], sound.get(path))
        path.write_bytes(content)
        counts[verdict] += 1
        by_kind[f"{path.suffix or path.name}: {verdict}"] += 1
        if verdict not in ("refused by name", "no effect", "read by no stage"):
            failures.append(f"{path}, byte {place}, bit {bit}: {verdict}")
            print(failures[-1], flush=True)
        if (number + 1) % 1000 == 0:
            print(f"{number + 1} flips: {dict(counts)}", flush=True)
    for kind, count in sorted(by_kind.items()):
        print(f"{count:6} {kind}")
    print(f"{arguments.flips} flips in {len(paths)} files: {dict(counts)}")
    return int(bool(failures))


def judged(path: Path, reader: Reader | None, sound: Any) -> str:
    for kept in (manifest._read_once, manifest._digest_in_state):
        kept.cache_clear()  # flips follow each other faster than the clock of the file system
    if reader is None:
        return "read by no stage"
    try:
        found = reader()
    except LemonError as error:
        near = [path.name, path.parent.name, f"{path.parent.name}/{path.name}"]
        return "refused by name" if any(name in str(error) for name in near) else "refused unnamed"
    except Exception as error:
        return f"traceback {type(error).__name__}: {error}"
    return "no effect" if found == sound else "used in silence"


if __name__ == "__main__":
    sys.exit(main())
