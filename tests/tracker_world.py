"""A rendered table of made-up runs, and its replay into MLflow in this process or another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fabricated_runs import write_runs, write_scored
from few_runs import keep_runs

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.tracking.replay import track

CONFIG = Path(__file__).parents[1] / "config"
RUNS = ("source", "cut-75", "random-75-s0", "shear-75", "lemon-cut-75", "lemon-prune-75")


def project_of(files: Path) -> Project:
    return load_project("smoke", files / "config")


def write_rendered(folder: Path, *tables: str) -> Path:
    """A few runs of tables of the smoke preset, and their results; `table3` unless named."""
    shutil.copytree(CONFIG, folder / "config")
    tables = tables or ("table3",)
    for table in tables:
        keep_runs(folder / "config", table, RUNS)
    for table in tables:
        write_runs(project_of(folder), table, folder / "runs", documents=8)
        write_scored(project_of(folder), table, folder / "runs", folder / "results" / "tables")
    return folder


def replay(files: Path) -> dict:
    """The state that a replay from the current folder leaves."""
    track(project_of(files), "table3", files / "runs", files / "results", Path("track.json"))
    return state()


def state(name: str = "track.json") -> dict:
    return dict(json.loads(Path(name).read_text()))


def started(
    files: Path, out: str = "track.json", before: str = "", **variables: str
) -> subprocess.Popen[str]:
    """`lemon track` in a process of its own; `before` is code that runs first."""
    code = f"import sys\n{before}\nfrom lemon.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--config", str(files / "config"), "track"]
    command += ["--table", "table3", "--preset", "smoke", "--runs", str(files / "runs")]
    command += ["--results", str(files / "results"), "--out", out]
    return subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
