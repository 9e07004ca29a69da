"""One training run: from a source model and packed text to an operators file."""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from lemon.checkpoint import Checkpoint
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, Diverged
from lemon.files.manifest import MANIFEST
from lemon.learning.assembly import assemble
from lemon.learning.hierarchical import last_layers
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import settled, write_masks
from lemon.learning.student import Teacher
from lemon.learning.trainee import FusedTrainee, next_token_loss
from lemon.machine import make_deterministic
from lemon.methods.build import (
    rearranged_source,
    require_source,
    start_input,
    start_operators,
    write_run,
)
from lemon.model_folder import write_model
from lemon.perplexity import mixture_loss
from lemon.training.batches import batches_of
from lemon.training.checkpoints import TrainingCheckpoints
from lemon.training.completion import checkpoint_key, finished_before, read_digests
from lemon.training.divergence import Divergence
from lemon.training.loop import Trainer
from lemon.training.processes import ALONE, Processes
from lemon.training.tune_losses import tune_losses


def learn(
    project: Project,
    run_id: str,
    source: Path,
    text: Path,
    out: Path,
    start: Path | None = None,
    teacher: Path | None = None,
    teacher_cache: Path | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train the operators of a run, or continue an interrupted training.

    Writes `operators.safetensors`, `config.yaml`, `metrics.jsonl` and, last, `manifest.json`. Where
    the operators apply to other weights than the source's, it writes these as a model folder:
    `trained_source/` if the source's weights train too, `permuted_source/` if blocks start from a
    selection, `placed_source/` if the start moves units within layers, `fused_source/` if the model
    of the start trains. A run that trains masks also writes `masks.csv`.

    Args:
        project, run_id: the configuration, and a run whose method trains.
        source, text: folders of the large model, and of packed text of the same tokenizer.
        out: the run's folder.
        start: folder of the run that this one starts from, if its row names one.
        teacher: model folder of the teacher, if that is not the source.
        teacher_cache: folder in which the teacher's hidden states are kept for other runs.
        processes: those that learn together; the first one writes.

    Raises:
        BadInput: source and text don't match, the start is missing, or the preset's devices are
            not available.
        Diverged, WorkFailed: the run diverged, or the disk is full.
    """
    started = time.monotonic()
    run, key = project.run(run_id), stage_params(project, "learn", run_id)
    if not run.method.learned:
        raise BadInput(f"run {run_id}: method {run.method.name} learns nothing; use `lemon build`")
    large = Checkpoint(source)
    require_source(run, large)
    packed = PackedText(text, ("train", "tune"))
    device = processes.device(project.preset.compute.device)
    taught_by = Checkpoint(teacher) if teacher else None
    inputs = learned_from(large, packed, start, teacher)
    models = [] if run.own_weights is None else [out / run.own_weights]
    if processes.from_first(partial(finished_before, run_id, out, key, inputs, models)):
        return
    make_deterministic()
    if processes.writes:
        (out / MANIFEST).unlink(missing_ok=True)
    operators, stands_for = None, None
    if not run.method.prunes:
        operators = start_operators(run, large, start)
        if run.method.matches_states:
            stands_for = last_layers(operators)
        rearranged = partial(rearranged_source, run, large, operators, out)
        fused, operators = processes.from_first(rearranged)
        if run.rearranged in ("placed_source", "fused_source"):  # another model than the source
            taught_by = taught_by or large
        large = fused
    trainee = assemble(
        *(run, project.preset, large, device, operators, taught_by, teacher_cache, stands_for),
        processes=processes,
    )
    trainer = trainer_of(run, trainee, packed, out, checkpoint_key(key, inputs), processes)
    trainer.run()

    fusion, weights = trainee.student.fusion, trainee.student.source
    fused, files = large, [out / "metrics.jsonl"]
    facts: dict[str, Any] = dict(processes.facts)
    if isinstance(fusion, MaskedFusion):
        facts |= {"gates": settled(fusion.masks), "export": choose_gates(fusion, trainer)}
    facts["tune_loss"] = mixture_loss(trainer.tune_losses(exported=True), packed.weights)
    if not math.isfinite(facts["tune_loss"]):
        raise Diverged(f"{run_id}: the loss on the tune text is {facts['tune_loss']} at the end")
    exported = fusion.exported_weights(weights) if run.method.trains_weights else iter(())
    if not processes.writes:
        deque(exported, maxlen=0)  # the first process gathers them with all others
        return
    if run.own_weights is not None:
        own = out / run.own_weights
        if run.method.trains_weights:
            write_model(
                own,
                large.shape,
                exported,
                like=large.path,
                dtype=large.dtype,
                stage="train",
                started=started,
            )
        fused = Checkpoint(own)
        files.append(own / MANIFEST)
    if isinstance(fusion, MaskedFusion):
        write_masks(out / "masks.csv", fusion.masks)
        files.append(out / "masks.csv")
    write_run(
        *(project, run, "learn", out, fused, fusion.operators()),
        files=files,
        inputs=inputs,
        started=started,
        device=str(device),
        steps=run.steps,
        key=key,
        **facts,
    )
    shutil.rmtree(out / "checkpoints")


def learned_from(
    source: Checkpoint, text: PackedText, start: Path | None, teacher: Path | None
) -> dict[str, str]:
    """The digests of what a run learns from; BadInput if model and text don't match."""
    return {**read_digests(source, text, teacher=teacher), **start_input(start)}


def choose_gates(fusion: MaskedFusion, trainer: Trainer) -> dict[str, Any]:
    """Choose the gates of the exported model by its loss on the tune text.

    They are folded into the weights as they are, or set to 1 for the units that are kept. Gates
    that have settled are near 1, and the two are the same.

    Returns:
        {"gates": "folded" or "open", "tune_loss": {"folded", "open"} in nats a token}.
    """
    losses = {}
    for name, opens in (("folded", False), ("open", True)):
        fusion.opens_kept_gates = opens
        losses[name] = mixture_loss(trainer.tune_losses(exported=True), trainer.text.weights)
    best = min(losses, key=losses.__getitem__)
    fusion.opens_kept_gates = best == "open"
    return {"gates": best, "tune_loss": losses}


def trainer_of(
    run: PlannedRun,
    trainee: FusedTrainee,
    text: PackedText,
    out: Path,
    key: str,
    processes: Processes = ALONE,
) -> Trainer:
    """The trainer of a run, which writes into the folder `out`.

    Raises:
        BadInput: a domain has no text, or the scaling law does not know it.
    """
    settings, prunes = run.learning, run.method.prunes
    source = Teacher(trainee.student.source, trainee.student.decoder)
    loss_of = partial(next_token_loss, source, chunk_tokens=settings.loss_chunk_tokens)
    # Closing masks may raise the loss up to that of a uniform distribution.
    most = math.log(text.vocab_size) if prunes else None
    return Trainer(
        label=run.id,
        settings=settings,
        steps=run.steps,
        trainee=trainee,
        text=text,
        batches=batches_of(
            text,
            run.seed,
            run.pruning.loading if prunes else None,
            num_parameters=run.target_shape.num_parameters,
            source_losses=partial(tune_losses, loss_of, text, settings, trainee.device, processes),
        ),
        divergence=Divergence(settings.divergence_factor, reference=most),
        checkpoints=TrainingCheckpoints(out / "checkpoints", key),
        metrics_path=out / "metrics.jsonl",
        processes=processes,
    )
