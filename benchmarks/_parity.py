"""Trains runs of the smoke preset on two devices, or in two processes, and compares their ends.

Everything is in float32 with the same seed, so that only the rounding of the devices differs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from _gpu_report import Line
from safetensors.torch import load_file
from torch import Tensor

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.data.pretrained import load_model
from lemon.data.source_model import prepare_source
from lemon.data.text.domains import prepare_text
from lemon.data.text.packing import PackedText
from lemon.errors import WorkFailed
from lemon.evaluation.perplexity import heldout_perplexity
from lemon.events import read_events
from lemon.learning.run import learn
from lemon.methods.start import OPERATORS
from lemon.operators.fuse import fuse
from lemon.pretraining.run import pretrain

CONFIG = Path(__file__).parents[1] / "config"
CPU, DEVICE, TWO = "cpu", "device", "two"  # whose folders the runs are in
FUSED = "lemon-cut-75"
# A run of each kind of training, and what it trains.
KINDS = {
    FUSED: "operators of layers",
    "lemon-width-2-2": "operators of widths",
    "cut-tuned-75": "weights",
    "lemon-cut-trained-75": "operators and weights",
    "shear-75": "masks and weights",
    "scratch-width": "pre-training",
}
# Operators whole in both processes beside weights in shares; masks, under which layers are skipped.
IN_PROCESSES = ("lemon-cut-trained-75", "shear-75")
# On a CPU, float32 and float64 are 2e-7 apart in the losses and 7e-6 in the tensors.
LOSSES_APART, TENSORS_APART = 1e-5, 1e-4
TIMEOUT_S = 300  # of two processes, which may wait for each other


class Ends(NamedTuple):
    """What a run leaves.

    Attributes:
        losses: every logged loss and the perplexities, by name and step.
        tensors: operators and weights, by file and name.
    """

    losses: dict[str, Tensor]
    tensors: dict[str, Tensor]


def prepare(folder: Path) -> None:
    """Write the source and the text of the smoke preset, which are generated."""
    preset = load_project("smoke", CONFIG).preset
    source, fetched = folder / "source", folder / "nothing"
    prepare_source(preset.source, lock={}, cache=fetched, out=source, seed=0)
    out = folder / "text"
    prepare_text(preset.text, source=source, lock={}, cache=fetched, out=out, seed=0)


def against_the_cpu(run_id: str, folder: Path, device: str) -> Iterator[Line]:
    """A kind of training on the device, beside the same on the CPU."""
    expected = _trained(run_id, folder, CPU, "cpu")
    found = _trained(run_id, folder, DEVICE, device)
    return _compared(KINDS[run_id], found, expected, "the CPU")


def fused_and_scored(folder: Path, device: str) -> Iterator[Line]:
    """The held-out perplexity of the model of each device's own operators, scored there."""
    text, found = PackedText(folder / "text"), {}
    for whose, where in ((CPU, "cpu"), (DEVICE, device)):
        small = folder / f"fused-{whose}"
        fuse(folder / "source", folder / whose / FUSED / OPERATORS, small)
        model = load_model(small, dtype=torch.float32).to(where).eval()
        found[whose] = heldout_perplexity(model, text)["perplexity"]
    apart = abs(found[DEVICE] / found[CPU] - 1)
    words = f"{found[DEVICE]:.4f}, apart by {apart:.1e}"
    yield _line("fused model: held-out perplexity", words, f"the CPU: {found[CPU]:.4f}", apart)


def in_two_processes(run_id: str, folder: Path, device: str) -> Iterator[Line]:
    """A kind of training in two processes of torchrun, beside one process on the same device."""
    preset, out = _preset(folder, device, 2), folder / TWO / run_id
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    started = (*torchrun, "--no-python", "--", sys.executable, "-m", "lemon.cli")
    learns = ("--config", CONFIG, "learn", "--preset", preset, "--run", run_id)
    read = ("--source", folder / "source", "--text", folder / "text", "--out", out)
    ended = subprocess.run([sys.executable, *started, *learns, *read], timeout=TIMEOUT_S)
    if ended.returncode:
        raise WorkFailed(f"they end with exit code {ended.returncode}, and said why")
    found, expected = _ends(out), _ends(folder / DEVICE / run_id)
    return _compared(KINDS[run_id], found, expected, "one process")


def _preset(folder: Path, device: str, processes: int) -> Path:
    """The smoke preset on a device, as a file."""
    path = folder / f"{device}-{processes}.yaml"
    compute = f"{{device: {device}, devices: {processes}}}"
    path.write_text(f"base: smoke\ncompute: {compute}\n", encoding="utf-8")
    return path


@cache
def _project(folder: Path, device: str) -> Project:
    return load_project(_preset(folder, device, 1), CONFIG)


def _trained(run_id: str, folder: Path, whose: str, device: str) -> Ends:
    project, out = _project(folder, device), folder / whose / run_id
    read = (project, run_id, folder / "source", folder / "text", out)
    if project.run(run_id).method.pretrains:
        pretrain(*read, reference=folder / "source")
    else:
        learn(*read)
    return _ends(out)


def _ends(out: Path) -> Ends:
    losses = {
        f"{event['name']} {event['step']}": torch.tensor(event["value"])
        for event in read_events(out / "metrics.jsonl")
        if event["name"].startswith("tune/") or event["name"].endswith(("loss", "/kl"))
    }
    tensors = {
        f"{file.relative_to(out)} {name}": tensor
        for file in sorted(out.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    return Ends(losses, tensors)


def _compared(what: str, found: Ends, expected: Ends, beside: str) -> Iterator[Line]:
    losses, tensors = (_apart(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    yield _line(f"{what}: losses", f"apart by {losses:.1e}", beside, losses, LOSSES_APART)
    yield _line(f"{what}: final tensors", f"apart by {tensors:.1e}", beside, tensors)


def _line(what: str, found: str, beside: str, apart: float, most: float = TENSORS_APART) -> Line:
    return Line(what, found, beside, f"at most {most:g}", holds=apart <= most, decides=True)


def _apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, relative for values above 1; infinite if others are there."""
    if found.keys() != expected.keys() or not found:
        return float("inf")
    every = ((found[name].double(), expected[name].double()) for name in found)
    # Not Python's max, which loses NaN.
    return (
        torch.stack([((a - b).abs() / b.abs().clamp(min=1)).max() for a, b in every]).max().item()
    )
