"""Pre-train one small model: from the model of an earlier run, or from random weights."""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.configuration.methods import SCRATCH
from lemon.configuration.planned_run import PlannedRun, snapshot_folder
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.data.pretrained import load_model
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, Diverged
from lemon.files.manifest import MANIFEST, write_manifest
from lemon.files.ownership import owner_of_run
from lemon.files.storage import write_yaml
from lemon.machine import make_deterministic
from lemon.methods.build import require_source
from lemon.model_folder import write_model
from lemon.perplexity import mixture_loss
from lemon.pretraining.language_model import LanguageModel
from lemon.training.batches import batches_of
from lemon.training.checkpoints import TrainingCheckpoints
from lemon.training.completion import checkpoint_key, finished_before, read_digests
from lemon.training.divergence import Divergence
from lemon.training.loop import Trainer
from lemon.training.processes import ALONE, Processes
from lemon.training.tune_losses import tune_losses

MODEL = "model"


def pretrain(
    project: Project,
    run_id: str,
    source: Path,
    text: Path,
    out: Path,
    reference: Path | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train all weights of a small model on text, or continue an interrupted training.

    Writes the model folder `model/`, `snapshots/TOKENS/model/` for the token counts of the preset,
    `config.yaml`, `metrics.jsonl` and, last, `manifest.json`.

    Args:
        project, run_id: the configuration, and a run whose method pre-trains.
        source: the model to train; for a run from random weights one of the same family, for its
            configuration and tokenizer.
        text: packed text of the same tokenizer.
        out: the run's folder.
        reference: a model whose losses by domain steer the mixture of domains, where the preset
            takes those of the source.
        processes: those that train together; the first one writes.

    Raises:
        BadInput: the model, text and preset don't match, the reference is missing, or the preset's
            devices are not available.
        Diverged, WorkFailed: the run diverged, or the disk is full.
    """
    started = time.monotonic()
    run, key = project.run(run_id), stage_params(project, "pretrain", run_id)
    if not run.method.pretrains:
        raise BadInput(f"run {run_id}: method {run.method.name} does not pre-train")
    if run.mixture_reference and reference is None:
        raise BadInput(f"run {run_id}: its mixture of domains needs a reference model; name one")
    given, packed = Checkpoint(source), PackedText(text, ("train", "tune"))
    require_source(run, given)
    device = processes.device(project.preset.compute.device)
    inputs = read_digests(given, packed, reference=reference)
    kept = {step: out / snapshot_folder(tokens) / MODEL for step, tokens in run.snapshots.items()}
    models = [out / MODEL, *kept.values()]
    if processes.from_first(partial(finished_before, run_id, out, key, inputs, models)):
        return
    make_deterministic()
    if processes.writes:
        (out / MANIFEST).unlink(missing_ok=True)
    if run.method.name == SCRATCH:
        model = random_model(given.config, run.target_shape, run.seed)
    else:
        model = load_model(source, dtype=torch.float32)
    trainee = trainee_of(project, run, model, processes).to(device)

    def write(folder: Path) -> None:
        weights = trainee.named_weights()
        if not processes.writes:
            deque(weights, maxlen=0)  # the first process gathers them with all others
            return
        write_model(
            *(folder, run.target_shape, weights),
            like=source,
            dtype=given.dtype,
            stage="pretrain",
            started=started,
        )

    trainer = trainer_of(
        *(run, trainee, packed, out, checkpoint_key(key, inputs)),
        source_losses=partial(_losses, project, run, packed, reference, device, processes),
        processes=processes,
        after={step: partial(write, folder) for step, folder in kept.items()},
    )
    trainer.run()

    tune_loss = mixture_loss(trainer.tune_losses(exported=True), packed.weights)
    if not math.isfinite(tune_loss):
        raise Diverged(f"{run_id}: the loss on the tune text is {tune_loss} at the end")
    write(out / MODEL)
    if not processes.writes:
        return
    settings = project.resolved(run_id)
    write_yaml(out / "config.yaml", settings)
    write_manifest(
        *(out / MANIFEST, "pretrain"),
        files=[out / "config.yaml", out / "metrics.jsonl"],
        owner=owner_of_run(project.preset_name, run_id),
        settings=settings,
        inputs=inputs,
        seed=run.seed,
        started=started,
        device=str(device),
        **processes.facts,
        steps=run.steps,
        key=key,
        tune_loss=tune_loss,
    )
    shutil.rmtree(out / "checkpoints")


def random_model(config: dict[str, Any], shape: LlamaShape, seed: int) -> PreTrainedModel:
    """A model of these sizes in float32, initialised as transformers does for its family.

    `config` is the `config.json` of a model of the family; it has the spread of random weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = AutoConfig.for_model(**config_of(shape, config))
        return AutoModelForCausalLM.from_config(sizes, dtype=torch.float32)


def trainee_of(
    project: Project, run: PlannedRun, model: PreTrainedModel, processes: Processes
) -> LanguageModel:
    """The trainee of a run, which several processes divide before it is moved to a device.

    So no device need hold all of the model, which is in float32.
    """
    if run.pretraining.recompute:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return LanguageModel(
        model.train(),
        dtype=getattr(torch, project.preset.compute.dtype),
        rate=run.pretraining.weight_rate,
        chunk_tokens=run.pretraining.loss_chunk_tokens,
        processes=processes,
    )


def trainer_of(
    run: PlannedRun,
    trainee: LanguageModel,
    text: PackedText,
    out: Path,
    key: str,
    *,
    source_losses: Callable[[], Mapping[str, float]],
    processes: Processes = ALONE,
    after: Mapping[int, Callable[[], None]] | None = None,
) -> Trainer:
    """The trainer of a run, which writes into the folder `out`.

    `source_losses` measures the losses that steer the mixture; `after` are calls by step.

    Raises:
        BadInput: a domain has no text, or the scaling law does not know it.
    """
    settings = run.pretraining
    return Trainer(
        label=run.id,
        settings=settings,
        steps=run.steps,
        trainee=trainee,
        text=text,
        batches=batches_of(
            text,
            run.seed,
            settings.loading,
            num_parameters=run.target_shape.num_parameters,
            source_losses=source_losses,
        ),
        divergence=Divergence(settings.divergence_factor),
        checkpoints=TrainingCheckpoints(out / "checkpoints", key),
        metrics_path=out / "metrics.jsonl",
        processes=processes,
        after=after or {},
    )


def _losses(
    project: Project,
    run: PlannedRun,
    text: PackedText,
    reference: Path | None,
    device: torch.device,
    processes: Processes,
) -> dict[str, float]:
    """The reference model's losses by domain on the tune text, in nats a token."""
    assert reference is not None
    model = load_model(reference, dtype=torch.float32)
    trainee = trainee_of(project, run, model, processes).to(device)
    loss_of = partial(trainee.tune_loss, exported=True)
    return tune_losses(loss_of, text, run.pretraining, device, processes)
