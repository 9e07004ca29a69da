"""`lemon table`, `track` and `ui`: from outcomes to what people read."""

from __future__ import annotations

import argparse

from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_writable,
)
from lemon.errors import BadInput
from lemon.presets import Project


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    table = add_command(
        commands,
        "table",
        _table,
        "render a table of the paper from the outcomes of its runs",
        "lemon table --table table3 --preset laptop --runs runs/laptop --out results/laptop/tables",
    )
    track = add_command(
        commands,
        "track",
        _track,
        "replay the files of a table's runs into MLflow; twice does no harm",
        "lemon track --table table3 --preset laptop --runs runs/laptop --results results/laptop "
        "--out runs/laptop/tracking/table3.json",
        "\nMLFLOW_TRACKING_URI names the store (default: sqlite:///mlflow.db).",
    )
    for parser in (table, track):
        parser.add_argument("--table", required=True, metavar="NAME", help="table in paper.yaml")
        add_preset(parser)
        add_path(parser, "--runs", "folder with one folder a run")
    add_path(track, "--results", "folder with the rendered tables")
    add_path(table, "--out", "folder for the table's files")
    add_path(track, "--out", "file that says what was recorded", "FILE")
    ui = add_command(commands, "ui", _ui, "serve the recorded runs in MLflow's pages", "lemon ui")
    ui.add_argument("--port", type=int, default=5000, help="port (default: 5000)")


def _table(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_runs(project, arguments)
    require_writable(arguments.out)
    from lemon.reporting.tables import write_table

    write_table(project, arguments.table, arguments.runs, arguments.out)


def _track(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_runs(project, arguments)
    require_writable(arguments.out)
    from lemon.tracking import track

    track(project, arguments.table, arguments.runs, arguments.results, arguments.out)


def _ui(arguments: argparse.Namespace) -> None:
    from lemon.tracking import ui

    ui(port=arguments.port)


def _require_runs(project: Project, arguments: argparse.Namespace) -> None:
    """Hold a table of runs against the folder that is named; a table of sizes needs none."""
    if project.table_runs(arguments.table) and not arguments.runs.is_dir():
        raise BadInput(
            f"{arguments.runs}: no such folder of runs; `make {arguments.table}` fills one"
        )
