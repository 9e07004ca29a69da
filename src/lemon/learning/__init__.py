"""Learning operators: the fused student, its objective, and a loop that survives a kill.

`learn` is one run, from a source and packed text to an operators file.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint, write_checkpoint
from lemon.config import ComputeSettings
from lemon.data.packing import PackedText
from lemon.errors import BadInput
from lemon.learning.checkpoints import Checkpoints
from lemon.learning.decoder import Decoder
from lemon.learning.loop import Learner
from lemon.learning.source_stack import SourceStack
from lemon.learning.student import DepthFusion, FusedStudent
from lemon.methods import start_operators
from lemon.operators.algebra import Operators
from lemon.operators.file import save_operators
from lemon.presets import METHODS, Project
from lemon.provenance import file_digest, write_manifest
from lemon.storage import write_yaml

TRAINED_SOURCE = "trained_source"


def learn(project: Project, run_id: str, source: Path, text: Path, out: Path) -> None:
    """Learn the operators of a run, or go on where an earlier process was stopped.

    Writes `operators.safetensors`, `config.yaml`, `metrics.jsonl` and `manifest.json`, the last
    one when all is there; where the source's weights learn too, also `trained_source/`, a model
    folder that takes the source's place when the operators are fused.

    Args:
        project: the configuration.
        run_id: a run whose method learns.
        source: the large model's folder.
        text: packed text of the same tokenizer.
        out: the run's folder.

    Raises:
        BadInput: source and text don't fit, or a device is asked for that is not there.
        WorkFailed: the run diverged, or the disk is full.
    """
    started = time.monotonic()
    run = project.run(run_id)
    method = METHODS[run.method]
    if not method.learned:
        raise BadInput(f"run {run_id}: method {run.method} learns nothing; use `lemon build`")
    large = Checkpoint(source)
    packed = PackedText(text)
    if packed.vocab_size != large.shape.vocab_size:
        raise BadInput(
            f"{text}: packed with a vocabulary of {packed.vocab_size} tokens, the model in "
            f"{source} has {large.shape.vocab_size}; prepare the text again with this source"
        )
    device = compute_device(project.preset.compute)
    make_deterministic()
    start = start_operators(project, run_id, large)
    refuse_width(start, run_id)
    student, teacher = build_student(project, run_id, large, start, device, method.trains_weights)
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(out / "checkpoints", project.stage_params("learn", run_id))
    Learner(
        label=run_id,
        settings=project.learning(run_id),
        steps=project.steps(run_id),
        seed=run.seed,
        student=student,
        teacher=teacher,
        text=packed,
        checkpoints=checkpoints,
        metrics_path=out / "metrics.jsonl",
    ).run()

    source_digest = fused_digest = large.digest()
    if method.trains_weights:
        write_checkpoint(
            out / TRAINED_SOURCE,
            large.shape,
            student.stack.named_weights().items(),
            like=source,
            dtype=large.dtype,
        )
        fused_digest = Checkpoint(out / TRAINED_SOURCE).digest()
    learned = {type: gamma.detach().cpu() for type, gamma in student.fusion.gamma.items()}
    save_operators(
        out / "operators.safetensors",
        replace(start, gamma=learned),
        source_digest=fused_digest,
        method=run.method,
    )
    write_yaml(out / "config.yaml", project.resolved(run_id))
    write_manifest(
        out / "manifest.json",
        "learn",
        settings=project.resolved(run_id),
        inputs={"source": source_digest, "text": file_digest(text / "manifest.json")},
        seed=run.seed,
        started=started,
        device=str(device),
        steps=project.steps(run_id),
        metrics_sha256=file_digest(out / "metrics.jsonl"),
    )
    shutil.rmtree(out / "checkpoints")


def build_student(
    project: Project,
    run_id: str,
    source: Checkpoint,
    start: Operators,
    device: torch.device,
    trains_weights: bool,
) -> tuple[FusedStudent, SourceStack]:
    """The fused student of a run and its teacher.

    With frozen weights both read one stack. Weights that learn are a copy of the teacher's, which
    stays as it is.
    """
    settings = project.learning(run_id)
    dtype = getattr(torch, project.preset.compute.dtype)
    teacher = SourceStack(source, dtype=dtype, device=device)
    stack = (
        SourceStack(source, dtype=dtype, device=device, learns=True) if trains_weights else teacher
    )
    student = FusedStudent(
        stack,
        DepthFusion(start, device),
        Decoder(source.config, device),
        layers_per_segment=settings.layers_per_segment,
        recompute=settings.recompute,
    )
    return student, teacher


def refuse_width(start: Operators, run_id: str) -> None:
    """Learning covers the layer operator; anything else is refused before work is spent.

    Raises:
        BadInput: the start changes a width, or lacks a gamma.
    """
    if start.hidden is not None or start.attn or start.ffn or set(start.gamma) != set(LAYER_TYPES):
        raise BadInput(
            f"run {run_id}: its target changes a width; only the layer operator is learned so "
            "far, so choose a target that changes num_hidden_layers alone"
        )


def compute_device(compute: ComputeSettings) -> torch.device:
    """The device that a preset asks for.

    Raises:
        BadInput: cuda is asked for and there is none.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("compute.device is cuda and there is no usable GPU; set it to auto or cpu")
    has_gpu = compute.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


def make_deterministic() -> None:
    """Have equal inputs give equal bits, so that a resumed run can't be told from another."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that costs time; set by name because torch's type stubs lack it.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
