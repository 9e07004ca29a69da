"""Learning operators and masks: the student, its objective, and a loop that survives a kill.

`learn` is one run, from a source and packed text to an operators file.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lemon.checkpoint import Checkpoint
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, checked_file, listed_files, read_manifest, write_manifest
from lemon.files.ownership import owner_of_run
from lemon.files.storage import write_yaml
from lemon.learning.assembly import assemble, divergence_of
from lemon.learning.masks import write_masks
from lemon.machine import compute_device, make_deterministic
from lemon.methods.build import (
    leading_blocks,
    require_source,
    start_input,
    start_operators,
    write_own_weights,
)
from lemon.operators.file import save_operators
from lemon.training.checkpoints import Checkpoints
from lemon.training.loop import Learner
from lemon.training.mixture import batches_of

# Files that `learn` writes for later stages, beside a folder with weights of the run's own.
OUTPUTS = ("operators.safetensors", "config.yaml", "metrics.jsonl", "masks.csv")


def learn(
    project: Project,
    run_id: str,
    source: Path,
    text: Path,
    out: Path,
    start: Path | None = None,
    teacher: Path | None = None,
) -> None:
    """Learn the operators of a run, or go on where an earlier process was stopped.

    Writes `operators.safetensors`, `config.yaml`, `metrics.jsonl` and `manifest.json`, the last
    one when all is there; where the source's weights learn too, also `trained_source/`, a model
    folder that takes the source's place when the operators are fused, as does `permuted_source/`
    where blocks start from a selection; where masks learn, also `masks.csv`.

    Args:
        project: the configuration.
        run_id: a run whose method learns.
        source: the large model's folder.
        text: packed text of the same tokenizer.
        out: the run's folder.
        start: folder of the run that this one starts from, where its start names one.
        teacher: model folder of the teacher, where that is not the source.

    Raises:
        BadInput: source and text don't fit, the start is missing, or a device is asked for that is
            not there.
        WorkFailed: the run diverged, or the disk is full.
    """
    started = time.monotonic()
    run, key = project.run(run_id), stage_params(project, "learn", run_id)
    if not run.method.learned:
        raise BadInput(f"run {run_id}: method {run.row.method} learns nothing; use `lemon build`")
    large = Checkpoint(source)
    require_source(project, run_id, large)
    packed = PackedText(text)
    if packed.vocab_size != large.shape.vocab_size:
        raise BadInput(
            f"{text}: packed with a vocabulary of {packed.vocab_size} tokens, the model in "
            f"{source} has {large.shape.vocab_size}; prepare the text again with this source"
        )
    device = torch.device(compute_device(project.preset.compute.device))
    taught_by = Checkpoint(teacher) if teacher else None
    inputs = {
        "source": large.digest(),
        "text": packed.digest,
        **start_input(start),
        **({"teacher": taught_by.digest()} if taught_by else {}),
    }
    if is_complete(out, key, inputs, project.own_weights(run_id)):
        print(f"{run_id}: all {project.steps(run_id)} steps are done already", file=sys.stderr)
        (out / MANIFEST).touch()
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return
    make_deterministic()
    (out / MANIFEST).unlink(missing_ok=True)
    operators = None
    if not run.method.prunes:
        operators = start_operators(project, run_id, large, start)
        large, operators = leading_blocks(project, run_id, large, operators, out)
    assembly = assemble(project, run_id, large, device, operators, taught_by)
    checkpoints = Checkpoints(out / "checkpoints", key)
    Learner(
        label=run_id,
        settings=project.learning(run_id),
        steps=project.steps(run_id),
        student=assembly.student,
        teacher=assembly.teacher,
        groups=assembly.groups,
        constraint=assembly.constraint,
        text=packed,
        batches=batches_of(project, run_id, packed, assembly.student),
        divergence=divergence_of(project, run_id),
        checkpoints=checkpoints,
        metrics_path=out / "metrics.jsonl",
    ).run()

    fused_digest = large.digest()
    own_weights = project.own_weights(run_id)
    if assembly.weights is not None and own_weights is not None:
        write_own_weights(out / own_weights, large, assembly.weights(), "train", started)
        fused_digest = Checkpoint(out / own_weights).digest()
    if assembly.masks is not None:
        write_masks(out / "masks.csv", assembly.masks)
    save_operators(
        out / "operators.safetensors",
        assembly.operators(),
        source_digest=fused_digest,
        method=run.row.method,
    )
    write_yaml(out / "config.yaml", project.resolved(run_id))
    files = [out / name for name in OUTPUTS if (out / name).is_file()]
    files += [out / own_weights / MANIFEST] if own_weights is not None else []
    write_manifest(
        out / MANIFEST,
        "learn",
        files=files,
        owner=owner_of_run(project.preset_name, run_id),
        settings=project.resolved(run_id),
        inputs=inputs,
        seed=run.seed,
        started=started,
        device=str(device),
        steps=project.steps(run_id),
        key=key,
    )
    shutil.rmtree(out / "checkpoints")


def is_complete(out: Path, key: str, inputs: dict[str, str], own_weights: str | None) -> bool:
    """Whether a run of these settings and inputs has ended, and all that it wrote is there.

    A workflow that was killed before it noted the end of a run asks for it once more.

    Raises:
        BadInput: it has ended, and a file is damaged.
    """
    if not (out / MANIFEST).is_file():
        return False
    manifest: dict[str, Any] = read_manifest(out / MANIFEST)
    if (manifest.get("key"), manifest.get("inputs")) != (key, inputs):
        return False
    needed = [out / name for name in manifest["files"]]
    if own_weights is not None:
        own = out / own_weights
        needed += [own / name for name in (MANIFEST, *(listed_files(own / MANIFEST) or {}))]
    gone = [path for path in needed if not path.is_file()]
    if gone:
        print(f"{gone[0]}: is gone, so the run is learned again", file=sys.stderr)
        return False
    for name in manifest["files"]:
        checked_file(out / name, out / MANIFEST)
    if own_weights is not None:
        Checkpoint(out / own_weights).digest()
    return True
