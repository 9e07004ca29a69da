"""`lemon table`, `figure`, `claims`, `report`, `track`, `ui`: from outcomes to readable results."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_output,
    require_writable,
)
from lemon.configuration.project import Project
from lemon.errors import BadInput


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    table = add_command(
        commands,
        _table,
        "render a table of the paper from the outcomes of its runs",
        "lemon table --table table3 --preset laptop --runs runs/laptop --text data/laptop/text "
        "--out results/laptop/tables",
    )
    figure = add_command(
        commands,
        _figure,
        "draw a figure of the paper from the files of its runs",
        "lemon figure --figure figure4-right --preset laptop --runs runs/laptop "
        "--out results/laptop/figures",
    )
    track = add_command(
        commands,
        _track,
        "replay the files of a table's or figure's runs into MLflow; twice does no harm",
        "lemon track --table table3 --preset laptop --runs runs/laptop --results results/laptop "
        "--out runs/laptop/tracking/table3.json",
        "  lemon track --follow --preset laptop --runs runs/laptop\n"
        "\nMLFLOW_TRACKING_URI names the store (default: sqlite:///mlflow.db).",
    )
    for parser, option, words in (
        (table, "--table", "table in paper.yaml"),
        (figure, "--figure", "figure in paper.yaml"),
        (track, "--table", "table or figure in paper.yaml"),
    ):
        needed = parser is not track  # which with --follow takes the runs alone
        parser.add_argument(option, dest="table", required=needed, metavar="NAME", help=words)
        add_preset(parser)
        add_path(parser, "--runs", "folder with one folder a run")
    add_path(track, "--results", "folder with the rendered tables/ and figures/", required=False)
    words = "mirror the runs that are learning, until interrupted, in place of a table"
    track.add_argument("--follow", action="store_true", help=words)
    words = "the text that the runs were scored on, for its floors; none if on none"
    for parser in (table, figure):
        add_path(parser, "--text", words, required=False)
    add_path(table, "--out", "folder for the table's files")
    add_path(figure, "--out", "folder for the figure's files")
    add_path(track, "--out", "file that says what was recorded", "FILE", required=False)
    words = "the numbers alone, which the figure's notebook draws from"
    figure.add_argument("--numbers", action="store_true", help=words)
    claims = add_command(
        commands,
        _claims,
        "give every published claim one verdict, from the tables and figures that are made",
        "lemon claims --preset laptop --results results/laptop --out results/laptop/claims.md",
        "\nBeside the page it writes the CSV and the manifest of the same name.",
    )
    report = add_command(
        commands,
        _report,
        "put every table and figure that is made on one self-contained page",
        "lemon report --preset laptop --results results/laptop --out results/laptop/report.html",
    )
    for parser in (claims, report):
        add_preset(parser)
        add_path(parser, "--results", "folder with the rendered tables/ and figures/")
        add_path(parser, "--out", "page to write", "FILE")
    ui = add_command(commands, _ui, "serve the recorded runs in MLflow's pages", "lemon ui")
    ui.add_argument("--port", type=int, default=5000, help="port (default: 5000)")


def _table(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_runs(project, arguments)
    require_writable(arguments.out)
    _require_rendered(arguments.out, arguments.table)
    from lemon.reporting.tables.table import write_table

    write_table(project, arguments.table, arguments.runs, arguments.out, arguments.text)


def _figure(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    if not project.entry(arguments.table).is_figure:
        raise BadInput(f"{arguments.table} is a table; run `lemon table --table {arguments.table}`")
    _require_runs(project, arguments)
    require_writable(arguments.out)
    from lemon.reporting.figures.figure import write_figure, write_figure_numbers

    write = write_figure_numbers if arguments.numbers else write_figure
    write(project, arguments.table, arguments.runs, arguments.out, arguments.text)


def _claims(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_folder(arguments.results, "results", "`make all` fills one")
    require_output(arguments.out, ".md", "# Claims")
    _require_rendered(arguments.out.parent, arguments.out.stem)
    from lemon.reporting.report import write_ledger

    write_ledger(project, arguments.results, arguments.out)


def _report(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    _require_folder(arguments.results, "results", "`make all` fills one")
    require_output(arguments.out, ".html", "LEMON reproduced")
    from lemon.reporting.report import write_report

    write_report(project, arguments.results, arguments.out)


def _track(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    of_a_table = [arguments.table, arguments.results, arguments.out]
    if arguments.follow:
        if any(of_a_table):
            raise BadInput("--follow mirrors all runs; leave out --table, --results and --out")
        _require_folder(arguments.runs, "runs", "start what learns first")
        from lemon.tracking.follow import follow

        follow(project, arguments.runs)
    if not all(of_a_table):
        raise BadInput("name --table, --results and --out of what to replay, or --follow")
    _require_runs(project, arguments)
    if arguments.out.parent.name == "tracking":  # our folder, even if the file is damaged
        require_writable(arguments.out)
    else:
        require_output(arguments.out, ".json", '"status"')
    from lemon.tracking.replay import track

    track(project, arguments.table, arguments.runs, arguments.results, arguments.out)


def _ui(arguments: argparse.Namespace) -> None:
    from lemon.tracking.store import is_server

    if not 0 < arguments.port < 2**16:
        raise BadInput(f"--port {arguments.port}: a port is a number from 1 to 65535")
    if not is_server():
        _require_free(arguments.port)
    from lemon.tracking.pages import ui

    ui(port=arguments.port)


def _require_free(port: int) -> None:
    """Refuse a port that is in use or not permitted."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadInput(
                f"--port {port}: nothing can be served there ({error.strerror}); name another"
            ) from None


def _require_rendered(out: Path, table: str) -> None:
    """Refuse to replace files with a table's name but without that table's manifest."""
    files, manifest = sorted(out.glob(f"{table}.*")), out / f"{table}.manifest.json"
    if files and not manifest.is_file():
        raise BadInput(
            f"{files[0]}: would be replaced, and has no {manifest.name} beside it; nothing was "
            "changed. Move it away, or name another folder"
        )


def _require_folder(folder: Path, of: str, fix: str) -> None:
    """Refuse a folder that is not there."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder of {of}; {fix}")


def _require_runs(project: Project, arguments: argparse.Namespace) -> None:
    """Check that the folder of runs exists; a table of sizes needs none."""
    if project.table_runs(arguments.table):
        _require_folder(arguments.runs, "runs", f"`make {arguments.table}` fills one")
