"""A rendered table of made-up runs, and its replay into MLflow in this process or another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fabricated_runs import write_runs, write_scored

from lemon.configuration.load import load_project
from lemon.tracking.replay import track

REPOSITORY = Path(__file__).parents[1]
PROJECT = load_project("smoke", REPOSITORY / "config")


def write_rendered(folder: Path) -> Path:
    """Runs and results of table3 of the smoke preset, in `runs` and `results`."""
    write_runs(PROJECT, "table3", folder / "runs", documents=8)
    write_scored(PROJECT, "table3", folder / "runs", folder / "results" / "tables")
    return folder


def replay(files: Path) -> dict:
    """The state that a replay from the current folder leaves."""
    track(PROJECT, "table3", files / "runs", files / "results", Path("track.json"))
    return state()


def state(name: str = "track.json") -> dict:
    return dict(json.loads(Path(name).read_text()))


def started(
    files: Path, out: str = "track.json", before: str = "", **variables: str
) -> subprocess.Popen[str]:
    """`lemon track` in a process of its own; `before` is code that runs first."""
    code = f"import sys\n{before}\nfrom lemon.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--config", str(REPOSITORY / "config"), "track"]
    command += ["--table", "table3", "--preset", "smoke", "--runs", str(files / "runs")]
    command += ["--results", str(files / "results"), "--out", out]
    return subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
