"""`lemon plan`, `doctor`, `lease` and `config`: estimated work, this machine, generated files."""

from __future__ import annotations

import argparse
import os

from lemon.commands.options import Commands, add_command, add_preset, project_of
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.gpus import lease_gpus


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    words = "estimate the jobs and the cost of a table"
    plan = add_command(commands, _plan, words, "lemon plan --preset laptop --table table3")
    add_preset(plan)
    plan.add_argument("--table", metavar="NAME", help="table in paper.yaml (default: all tables)")
    words = "the memory of every kind of training of the preset, as a table in Markdown, instead"
    plan.add_argument("--memory", action="store_true", help=words)
    doctor = add_command(
        commands, _doctor, "report on this machine", "lemon doctor --preset laptop"
    )
    add_preset(doctor)
    words = "run a command on GPUs that no other job has; waits until as many are free"
    example = "lemon lease --gpus 2 -- python train.py"
    lease = add_command(commands, _lease, words, example)
    lease.add_argument("--gpus", type=int, required=True, metavar="N", help="how many")
    command = lease.add_argument("of", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    command.required = False  # one message of our own says what is missing
    config = commands.add_parser("config", help="the files that are generated from the types")
    steps = config.add_subparsers(required=True, metavar="STEP")
    words = "write the JSON schemas and the configuration guide"
    add_command(steps, _write, words, "lemon config write")
    words = "fail if a generated file is outdated"
    add_command(steps, _check, words, "lemon config check")


def _plan(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    if arguments.memory:
        _print_memory(project)
        return
    if arguments.table is not None:
        project.entry(arguments.table)
    from lemon.plan import plan

    text, faults = plan(project, [arguments.table] if arguments.table else project.whole)
    print(text)
    if faults:
        raise BadInput("\n".join(["what is planned does not fit the devices", *faults]))


def _print_memory(project: Project) -> None:
    if project.preset.compute.memory is None:
        raise BadInput(
            f"preset {project.preset_name} does not state the memory of its devices; give "
            "compute.memory in GB"
        )
    from lemon.memory.fit import memory_table

    print(memory_table(project), end="")


def _doctor(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    from lemon.doctor import report

    print(report(project))


def _lease(arguments: argparse.Namespace) -> None:
    """Become the command, so that its end is that of the lease."""
    command = arguments.of[1:] if arguments.of[:1] == ["--"] else arguments.of
    if arguments.gpus < 1 or not command:
        raise BadInput("give at least one GPU, and a command: lemon lease --gpus 2 -- COMMAND")
    lease_gpus(arguments.gpus)
    os.execvp(command[0], command)


def _write(arguments: argparse.Namespace) -> None:
    from lemon.configuration.generated import write_generated

    changed = write_generated(arguments.config)
    print("\n".join(f"wrote {path}" for path in changed) or "all files are up to date")


def _check(arguments: argparse.Namespace) -> None:
    from lemon.configuration.generated import drifted

    changed = drifted(arguments.config)
    if changed:
        listed = ", ".join(map(str, changed))
        raise BadInput(f"not as generated: {listed}; run `lemon config write`")
