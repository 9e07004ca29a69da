"""`lemon build`, `learn` and `fuse`: from a source model to a smaller one."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemon.checkpoint import Checkpoint
from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    add_run,
    project_of,
    require_file,
    require_model,
    require_writable,
)
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.ownership import own_folder, owner_of_run


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    build = add_command(
        commands,
        "build",
        _build,
        "write the operators of a method that learns nothing",
        "lemon build --preset laptop --run cut-75 --source data/laptop/source "
        "--out runs/laptop/cut-75",
    )
    learn = add_command(
        commands,
        "learn",
        _learn,
        "learn the operators of a run; resumes from its last checkpoint",
        "lemon learn --preset laptop --run lemon-cut-75 --source data/laptop/source "
        "--text data/laptop/text --out runs/laptop/lemon-cut-75",
    )
    for parser in (build, learn):
        add_preset(parser)
        add_run(parser)
        add_path(parser, "--source", "model folder to fuse from")
    add_path(learn, "--text", "packed text that `lemon prepare text` wrote")
    for parser in (build, learn):
        parser.add_argument(
            "--start",
            type=Path,
            metavar="DIR",
            help="folder of the run that this one starts from, where its start names a run",
        )
        add_path(parser, "--out", "folder of the run")
    learn.add_argument(
        "--teacher",
        type=Path,
        metavar="DIR",
        help="model folder of the teacher, for the second of two stages (default: --source)",
    )
    fuse = add_command(
        commands,
        "fuse",
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
    _require_method(project, arguments.run, learned=False)
    _require_start(project, arguments)
    require_model(arguments.source)
    require_writable(arguments.out)
    with own_folder(arguments.out, owner_of_run(project.preset_name, arguments.run)):
        from lemon.methods.build import build

        build(project, arguments.run, arguments.source, arguments.out, arguments.start)


def _learn(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_method(project, arguments.run, learned=True)
    _require_start(project, arguments)
    require_model(arguments.source)
    _require_teacher(project, arguments)
    mend = "`lemon prepare text` writes it"
    require_file(arguments.text / "manifest.json", "manifest of packed text", mend)
    require_writable(arguments.out)
    with own_folder(arguments.out, owner_of_run(project.preset_name, arguments.run)):
        from lemon.learning.run import learn

        learn(
            *(project, arguments.run, arguments.source, arguments.text, arguments.out),
            start=arguments.start,
            teacher=arguments.teacher,
        )


def _require_teacher(project: Project, arguments: argparse.Namespace) -> None:
    """A teacher is given exactly where a second stage is taught by the source.

    Raises:
        BadInput: it is missing, given in vain, or of other sizes than the source.
    """
    run = arguments.run
    if not project.taught_by_source(run):
        if arguments.teacher is not None:
            raise BadInput(f"run {run} is taught by the model that it fuses; leave --teacher out")
        return
    if arguments.teacher is None:
        raise BadInput(
            f"run {run} is a second stage, taught by the source model (fusion.stage_teacher); name "
            "its folder by --teacher"
        )
    require_model(arguments.teacher)
    shape = Checkpoint(arguments.teacher).shape
    if shape != project.source_shape():
        raise BadInput(
            f"{arguments.teacher}: its sizes are {shape}, the preset's source section says "
            f"{project.source_shape()}; give the source model"
        )


def _require_start(project: Project, arguments: argparse.Namespace) -> None:
    """The folder of the start is given exactly where the run starts from a run.

    Raises:
        BadInput: it is missing, given in vain, or not the folder of that run.
    """
    start = project.run(arguments.run).start
    if start is None:
        if arguments.start is not None:
            raise BadInput(f"run {arguments.run} starts from no earlier run; leave --start out")
        return
    if arguments.start is None:
        raise BadInput(
            f"run {arguments.run} starts from run {start.id}; name that run's folder by --start"
        )
    command = "learn" if start.method.learned else "build"
    mend = f"`lemon {command} --run {start.id}` writes it"
    require_file(arguments.start / "operators.safetensors", "operators file", mend)


def _fuse(arguments: argparse.Namespace) -> None:
    require_model(arguments.source)
    mend = "`lemon build` and `lemon learn` write one"
    require_file(arguments.operators, "operators file", mend)
    require_writable(arguments.out)
    from lemon.operators.fuse import fuse

    fuse(arguments.source, arguments.operators, arguments.out)


def _require_method(project: Project, run_id: str, *, learned: bool) -> None:
    """Refuse a run that is made by another command, and name that command.

    Raises:
        BadInput: the run's method is not of the wanted kind.
    """
    run = project.run(run_id)
    info = run.method
    if not info.needs_target:
        raise BadInput(f"run {run_id} is a model as it is; nothing is made for it")
    if info.learned != learned:
        command, verb = ("learn", "learned") if info.learned else ("build", "built")
        raise BadInput(f"run {run_id} ({run.row.method}) is {verb}; use `lemon {command}`")
