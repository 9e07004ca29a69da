"""`lemon build`, `learn`, `try` and `fuse`: from a source model to a smaller one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_file,
    require_model,
    require_packed_text,
    require_writable,
)
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.ownership import own_folder, owner_of_run, owner_of_trial
from lemon.machine import own_rank

if TYPE_CHECKING:
    from lemon.training.processes import Processes


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    build = add_command(
        commands,
        _build,
        "write the operators of a method that learns nothing",
        "lemon build --preset laptop --run cut-75 --source data/laptop/source "
        "--out runs/laptop/cut-75",
    )
    learn = add_command(
        commands,
        _train,
        "learn the operators of a run; resumes from its last checkpoint",
        "lemon learn --preset laptop --run lemon-cut-75 --source data/laptop/source "
        "--text data/laptop/text --out runs/laptop/lemon-cut-75",
        name="learn",
    )
    trial = add_command(
        commands,
        _try,
        "learn with the rates of one line of config/trials/PRESET.tsv, for its loss on tune text",
        "lemon try --preset laptop --rates operators --trial 1 --source data/laptop/source "
        "--text data/laptop/text --out runs/laptop/tuning/operators/1",
    )
    pretrain = add_command(
        commands,
        _train,
        "train the model of an earlier run, or a new one, on text; resumes like learn",
        "lemon pretrain --preset laptop --run lemon-small-pretrained "
        "--source runs/laptop/lemon-small-width-first/model --text data/laptop/text "
        "--reference data/laptop/source --out runs/laptop/lemon-small-pretrained",
        name="pretrain",
    )
    for parser in (build, learn, trial, pretrain):
        add_preset(parser)
        if parser is not trial:
            parser.add_argument("--run", required=True, metavar="ID", help="id in runs.tsv")
        words = "model folder to fuse from"
        if parser is pretrain:
            words = "model folder to train; of a new model, one of the same family"
        add_path(parser, "--source", words)
    trial.add_argument("--rates", required=True, metavar="NAME", help="rates in runs.tsv")
    words = "its place among the trials of these rates, from 1"
    trial.add_argument("--trial", required=True, type=int, metavar="N", help=words)
    for parser in (learn, trial, pretrain):
        add_path(parser, "--text", "packed text that `lemon prepare text` wrote")
    words = "packed text, for a method that depends on activations"
    add_path(build, "--text", words, required=False)
    words = "folder that keeps the rounds of searches, for other depths and interrupted builds"
    add_path(build, "--rounds", words, required=False)
    words = "model folder whose losses steer the mixture of domains of pre-training"
    for parser in (pretrain, trial):
        add_path(parser, "--reference", words, required=False)
    add_path(pretrain, "--out", "folder of the run")
    for parser in (build, learn, trial):
        words = "folder of the run that this one starts from, where its start names a run"
        add_path(parser, "--start", words, required=False)
        add_path(parser, "--out", "folder of the trial" if parser is trial else "folder of the run")
    for parser in (learn, trial):
        words = "model folder of the teacher, for the second of two stages (default: --source)"
        add_path(parser, "--teacher", words, required=False)
        words = "folder that keeps the teacher's outputs for other runs on the same batches"
        add_path(parser, "--teacher-cache", words, required=False)
    fuse = add_command(
        commands,
        _fuse,
        "apply operators to a model and write the smaller model",
        "lemon fuse --source data/laptop/source "
        "--operators runs/laptop/cut-75/operators.safetensors --out runs/laptop/cut-75/model",
        "\nBoth models are Hugging Face folders; needs memory for a few tensors only.",
    )
    add_path(fuse, "--source", "Hugging Face model folder")
    add_path(fuse, "--operators", "operators.safetensors of a run", "FILE")
    add_path(fuse, "--out", "Hugging Face model folder to write")


def _build(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    run = _run_of(project, arguments, arguments.run, arguments.command)
    reads = f"is of {run.method.name}, which depends on activations on packed text"
    _require_exactly(run, "text", arguments.text, reads if run.method.calibrates else None)
    if arguments.text is not None:
        require_packed_text(arguments.text)
    with own_folder(arguments.out, owner_of_run(project.preset_name, run.id)):
        from lemon.methods.build import build

        folders = arguments.start, arguments.text, arguments.rounds
        build(project, run.id, arguments.source, arguments.out, *folders)


def _train(arguments: argparse.Namespace) -> None:
    """Learn or pre-train a run; `_run_of` checks that the command is that of its method."""
    project = project_of(arguments)
    rank = own_rank(project.preset.compute.devices)
    run = _run_of(project, arguments, arguments.run, arguments.command)
    _require_read(project, run, arguments)
    owner = owner_of_run(project.preset_name, run.id)
    with _training_together(rank, project, arguments.out, owner) as processes:
        _train_into(processes, run, arguments, project, arguments.out)


def _try(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    rank = own_rank(project.preset.compute.devices)
    trials, number = project.trials_of(arguments.rates), arguments.trial
    if not 1 <= number <= len(trials):
        raise BadInput(f"--trial {number}: rates {arguments.rates} have trials 1 to {len(trials)}")
    trial = trials[number - 1]
    tried = project.run(trial.run)
    run = _run_of(project, arguments, tried.id, tried.method.stage)
    _require_read(project, run, arguments)
    owner = owner_of_trial(project.preset_name, arguments.rates, number)
    with _training_together(rank, project, arguments.out, owner) as processes:
        from lemon.data.text.packing import PackedText
        from lemon.learning.run import learned_from
        from lemon.training.completion import read_digests
        from lemon.training.trial import run_trial

        source = Checkpoint(arguments.source)
        text = PackedText(arguments.text, ("train", "tune"))
        if run.method.pretrains:
            inputs = read_digests(source, text, reference=arguments.reference)
        else:
            inputs = learned_from(source, text, arguments.start, arguments.teacher)
        train = partial(_train_into, processes, run, arguments)
        run_trial(project, trial, arguments.out, inputs, train, processes)


@contextmanager
def _training_together(rank: int, project: Project, out: Path, owner: str) -> Iterator[Processes]:
    """The processes that train into a folder, of which this one has a rank.

    The first one takes the folder; if it can't, torchrun ends the others.
    """
    with own_folder(out, owner) if rank == 0 else nullcontext():
        from lemon.training.processes import joined

        with joined(rank, project.preset.compute) as processes:
            yield processes


def _train_into(
    processes: Processes, run: PlannedRun, read: argparse.Namespace, project: Project, out: Path
) -> None:
    """Train a run under a project into a folder, from the folders in `read`."""
    if run.method.pretrains:
        from lemon.pretraining.run import pretrain

        pretrain(project, run.id, read.source, read.text, out, read.reference, processes)
        return
    from lemon.learning.run import learn

    folders = {"start": read.start, "teacher": read.teacher, "teacher_cache": read.teacher_cache}
    learn(project, run.id, read.source, read.text, out, **folders, processes=processes)


def _fuse(arguments: argparse.Namespace) -> None:
    require_model(arguments.source)
    made_by = "`lemon build` and `lemon learn` write one"
    require_file(arguments.operators, "operators file", made_by)
    require_writable(arguments.out)
    from lemon.operators.fuse import fuse

    fuse(arguments.source, arguments.operators, arguments.out)


def _run_of(
    project: Project, arguments: argparse.Namespace, run_id: str, command: str
) -> PlannedRun:
    """The requested run, after checks of the command, its source, start and output folder."""
    run, start = project.run(run_id), getattr(arguments, "start", None)
    if not run.method.needs_target:
        raise BadInput(f"run {run.id} is a model as it is; nothing is made for it")
    own = run.method.stage
    if own != command:
        raise BadInput(f"run {run.id} ({run.method.name}) is made by `lemon {own}`; use that")
    _require_exactly(run, "start", start, f"starts from run {run.start.id}" if run.start else None)
    if run.start is not None:
        made_by = f"`lemon {run.start.method.stage} --run {run.start.id}` writes it"
        require_file(arguments.start / "operators.safetensors", "operators file", made_by)
    require_model(arguments.source)
    require_writable(arguments.out)
    return run


def _require_read(project: Project, run: PlannedRun, arguments: argparse.Namespace) -> None:
    """Check the text and the further models that a training command is given."""
    teacher, reference = getattr(arguments, "teacher", None), getattr(arguments, "reference", None)
    taught = "is a second stage, taught by the source model (fusion.stage_teacher)"
    steered = (
        "has a mixture of domains that follows the losses of the source model "
        "(pretraining.loading.reference)"
    )
    _require_exactly(run, "teacher", teacher, taught if run.taught_by_source else None)
    _require_exactly(run, "reference", reference, steered if run.mixture_reference else None)
    for model in filter(None, (teacher, reference)):
        _require_source(model, project.source_shape())
    require_packed_text(arguments.text)


def _require_exactly(run: PlannedRun, option: str, folder: Path | None, why: str | None) -> None:
    """Check that a folder is given exactly if the run reads it: `why` says so, None if not."""
    if why and folder is None:
        raise BadInput(f"run {run.id} {why}; name its folder by --{option}")
    if folder is not None and not why:
        raise BadInput(f"run {run.id} reads no {option}; leave --{option} out")


def _require_source(model: Path, expected: LlamaShape) -> None:
    """Check that a model folder has the sizes of the preset's source model."""
    require_model(model)
    shape = Checkpoint(model).shape
    if shape != expected:
        raise BadInput(
            f"{model}: {shape.difference(expected)} as the preset says; give the source model"
        )
