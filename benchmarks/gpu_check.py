"""Checks one GPU: computes as the CPU, how fast, in how much memory; writes docs/gpu-check.md.

Every kind of training of the smoke preset runs on the GPU and on the CPU in float32, and must end
the same. At 1.7B, with random weights that are made on the GPU, our learning step is timed beside
the teacher's pass with a plain step of Hugging Face, and peaks of memory are compared with those of
`lemon plan`. Where two GPUs are there, two processes learn too.

    python benchmarks/gpu_check.py --device cpu

tries the check itself with a small model, and prints the report. It ends with 1 if what is computed
differs, with 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from _full_size import REMEMBERED, memory, speed
from _gpu_report import Section, machine_facts, report, tried
from _parity import (
    CONFIG,
    IN_PROCESSES,
    KINDS,
    against_the_cpu,
    fused_and_scored,
    in_two_processes,
    prepare,
)

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.gpus import gpus_here, lease_gpus
from lemon.machine import make_deterministic

HERE = Path(__file__).parent
REPORT = HERE.parent / "docs" / "gpu-check.md"
PROMISED_S = 480


def main(arguments: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    try:
        device = _device(options.device)
        project = load_project(options.sizes or _usual_sizes(device), CONFIG)
    except BadInput as error:
        print(f"gpu-check: error: {error}", file=sys.stderr)
        return error.exit_code
    make_deterministic()
    facts, devices = machine_facts(device), _devices(device)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        sections = [
            _parity(Path(folder), device.type),
            _two_processes(Path(folder), device.type, 1 if options.one_process else devices),
            _full_size(project, device, options),
        ]
    took = f"{time.monotonic() - started:.0f} s; at most {PROMISED_S} s are promised"
    text = report(device, {**facts, "took": took}, sections)
    out = options.out or (REPORT if device.type == "cuda" else None)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        print(f"wrote {out}")
    every = [line for section in sections for line in section.lines]
    return int(any(line.decides and not line.holds for line in every))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="the report (default: docs/gpu-check.md)")
    words = "preset whose source is timed (default: gpu_check.yaml; on the CPU smoke)"
    parser.add_argument("--sizes", help=words)
    words = "TFLOP/s of the GPU in bfloat16, as its maker states it"
    parser.add_argument("--teraflops", type=float, help=words)
    parser.add_argument("--rounds", type=int, default=9)
    words = "leave two processes out, which otherwise learn where two GPUs are, and on the CPU"
    parser.add_argument("--one-process", action="store_true", help=words)
    return parser


def _device(wanted: str) -> torch.device:
    """The device, of which up to two are leased; BadInput if there is none."""
    if wanted == "cuda":
        lease_gpus(max(1, min(2, len(gpus_here()))))  # before torch looks for GPUs
        if not torch.cuda.is_available():
            raise BadInput(
                f"torch {torch.__version__} finds no usable GPU here; run `make gpu-check` on a "
                "machine with a GPU, which `nvidia-smi` lists, and with a torch built for CUDA. "
                "`python benchmarks/gpu_check.py --device cpu` tries the check itself"
            )
    return torch.device(wanted)


def _usual_sizes(device: torch.device) -> str:
    return str(HERE / "gpu_check.yaml") if device.type == "cuda" else "smoke"


def _devices(device: torch.device) -> int:
    return torch.cuda.device_count() if device.type == "cuda" else 2


def _parity(folder: Path, device: str) -> Section:
    lines = [
        line
        for run, trains in KINDS.items()
        for line in tried(trains, partial(against_the_cpu, run, folder, device), decides=True)
    ]
    lines += tried("fused model", partial(fused_and_scored, folder, device), decides=True)
    words = (
        "The smoke preset, 8 steps of each kind of training in float32 with the same seed, on the "
        "device and on the CPU. *Apart* is the largest difference of any logged loss, or of any "
        "number in the operators and weights at the end; of numbers above 1 it is relative."
    )
    return Section("As on the CPU", words, lines)


def _two_processes(folder: Path, device: str, devices: int) -> Section:
    title = "Two processes"
    if devices < 2:
        words = "Two processes need two devices, and one was given: they were **not run**."
        return Section(title, words, [])
    words = (
        "The same runs by torchrun in two processes, a device each, beside one process on one "
        f"device. They send by {'NCCL' if device == 'cuda' else 'gloo'}."
    )
    lines = [
        line
        for run in IN_PROCESSES
        for line in tried(KINDS[run], partial(in_two_processes, run, folder, device), decides=True)
    ]
    return Section(title, words, lines)


def _full_size(project: Project, device: torch.device, options: argparse.Namespace) -> Section:
    settings, compute = project.preset.learning, project.preset.compute
    label = project.preset.source.label
    words = (
        f"The sizes of {label} with random weights, in {compute.dtype}: "
        f"{settings.batch_sequences} sequences of {project.preset.text.sequence_length} tokens a "
        f"step, {settings.microbatch_sequences} at once, activations "
        f"{'recomputed' if settings.recompute else 'kept'}. A step of operators is timed, "
        f"{options.rounds} times in turn with the teacher's pass and a plain step of Hugging "
        "Face's student, whose weights all train. *MFU* counts the products of the teacher's pass "
        "and of the student's three, once each; *all products* has what is recomputed and fused "
        "too. *Peak memory* is of tensors."
    )
    lines = tried("speed", partial(speed, project, device, options.rounds, options.teraflops))
    for run in REMEMBERED:
        lines += tried(KINDS[run], partial(memory, project, run, KINDS[run], device))
    return Section(f"One step of {label}", words, lines)


if __name__ == "__main__":
    sys.exit(main())
