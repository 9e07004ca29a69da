"""`lemon plan`, `doctor` and `config`: estimated work, this machine, generated config files."""

from __future__ import annotations

import argparse

from lemon.commands.options import Commands, add_command, add_preset, project_of
from lemon.errors import BadInput


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    words = "estimate the jobs and the cost of a table"
    plan = add_command(commands, "plan", _plan, words, "lemon plan --preset laptop --table table3")
    add_preset(plan)
    plan.add_argument("--table", metavar="NAME", help="table in paper.yaml (default: all tables)")
    doctor = add_command(
        commands, "doctor", _doctor, "report on this machine", "lemon doctor --preset laptop"
    )
    add_preset(doctor)
    config = commands.add_parser("config", help="the files that are generated from the types")
    steps = config.add_subparsers(required=True, metavar="STEP")
    words = "write the JSON schemas and the configuration guide"
    add_command(steps, "write", _write, words, "lemon config write")
    words = "fail if a generated file is outdated"
    add_command(steps, "check", _check, words, "lemon config check")


def _plan(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    if arguments.table is not None:
        project.entry(arguments.table)
    from lemon.plan import plan

    print(plan(project, [arguments.table] if arguments.table else project.whole))


def _doctor(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    from lemon.doctor import report

    print(report(project))


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
