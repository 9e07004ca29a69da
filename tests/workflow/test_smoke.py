"""Table 3 of the smoke preset from nothing, with network sockets forbidden and two SIGKILLs.

One run for each way through the rules: built, learned, pruned, and started from another one.
"""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from few_runs import keep_runs
from forked_commands import FOLDER as FORKED
from workspaces import copy_workflow

from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

NO_NETWORK = Path(__file__).parent / "no_network"

RUNS = ("source", "cut-75", "shear-75", "lemon-cut-75", "lemon-prune-75")
KILLED = "lemon-cut-75"


def kill_when(space, words, seen) -> None:
    """Start Snakemake and SIGKILL it with all its jobs as soon as a file is seen."""
    process = subprocess.Popen(
        space.command(*words),
        cwd=space.path,
        env=space.variables(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 500
    try:
        while not seen() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert seen() and process.poll() is None, "it ended before it could be killed"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def make(space, *targets) -> None:
    done = space.snakemake(*targets, timeout=900)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """table3 of the smoke preset: killed while learning, killed while evaluating, then finished.

    What is killed are commands as a user starts them; the others are forks.
    """
    space = copy_workflow(tmp_path_factory.mktemp("smoke"))
    keep_runs(space.path / "config", "table3", RUNS)
    space.python_path = [str(NO_NETWORK)]
    space.environment = {"NETWORK_CALLS": str(space.path / "network.txt")}
    runs = space.path / "runs" / "smoke"

    make(space, "data/smoke/text/manifest.json", "data/smoke/tasks/manifest.json")
    learned = f"runs/smoke/{KILLED}/manifest.json"
    kill_when(space, [learned], lambda: list((runs / KILLED / "checkpoints").glob("[!.]*")))
    assert not (space.path / learned).exists()
    make(space, *(f"runs/smoke/{run}/model/manifest.json" for run in RUNS if run != "source"))
    one = ("table3", "--cores", "1")  # job at a time
    kill_when(space, one, lambda: len(list(runs.glob("*/outcomes/manifest.json"))) >= 2)
    outcomes = {file: file.stat().st_mtime_ns for file in runs.glob("*/outcomes/manifest.json")}
    # Snakemake may not yet have noted the end of the last one.
    space.evaluated = sorted(outcomes.items(), key=lambda item: item[1])[:-1]
    make(space, "table3")
    return space


def test_every_promised_file_is_there(smoke):
    for run in RUNS:
        folder = smoke.path / "runs" / "smoke" / run
        assert json.loads((folder / "outcomes" / "manifest.json").read_text())["stage"]
    tables = smoke.path / "results" / "smoke" / "tables"
    for ending in ("csv", "md", "tex", "html", "png", "manifest.json"):
        assert (tables / f"table3.{ending}").stat().st_size > 0
    with (tables / "table3.csv").open() as file:
        shown = {run for row in csv.DictReader(file) for run in row["run"].split()}
    assert shown == {*RUNS}


def test_nothing_tried_the_network(smoke):
    notes = smoke.path / "network.txt"
    assert not notes.exists(), notes.read_text()


def test_the_network_really_is_forbidden(smoke):
    attempt = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    variables = {**smoke.variables(), "NETWORK_CALLS": os.devnull}
    done = subprocess.run(
        [smoke.command()[0], "-c", attempt], env=variables, capture_output=True, text=True
    )
    assert "no network in this test" in done.stderr


def test_a_killed_run_resumed_to_the_same_operators(smoke, tmp_path):
    """They are bit-identical to those of a run that nobody interrupted."""
    data = smoke.path / "data" / "smoke"
    command = [FORKED / "lemon", "learn", "--preset", "smoke", "--run", KILLED]
    command += ["--source", data / "source", "--text", data / "text", "--out", tmp_path / KILLED]
    variables = {**smoke.variables(forked=True), "OMP_NUM_THREADS": "2"}
    subprocess.run(command, cwd=smoke.path, env=variables, check=True, capture_output=True)
    name = "operators.safetensors"
    resumed = (smoke.path / "runs" / "smoke" / KILLED / name).read_bytes()
    assert resumed == (tmp_path / KILLED / name).read_bytes()


def test_a_killed_evaluation_costs_only_what_was_missing(smoke):
    assert smoke.evaluated
    for file, written in smoke.evaluated:
        assert file.stat().st_mtime_ns == written, f"{file} was made again"


def test_a_small_model_comes_out_of_two_stages(smoke):
    """Of both orders in tests/unit/test_width_learning.py."""
    run = "lemon-small-width-first"
    make(smoke, f"runs/smoke/{run}/model/manifest.json")
    planned = load_project("smoke", smoke.path / "config").run(run)
    folder = smoke.path / "runs" / "smoke" / run
    inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
    first = smoke.path / "runs" / "smoke" / planned.source.id / "model"
    assert inputs["source"] == Checkpoint(first).digest()
    assert inputs["teacher"] == Checkpoint(smoke.path / "data" / "smoke" / "source").digest()
    assert Checkpoint(folder / "model").shape == planned.target_shape


def test_a_model_from_scratch_is_kept_and_scored_on_its_way(smoke):
    run = "runs/smoke/scratch-width"
    make(smoke, f"{run}/snapshots/256/outcomes/manifest.json")
    kept = Checkpoint(smoke.path / run / "snapshots/256/model")
    trained = Checkpoint(smoke.path / run / "model")
    assert kept.shape == trained.shape and kept.digest() != trained.digest()
    assert not (smoke.path / run / "checkpoints").exists()
    assert not (smoke.path / run / "operators.safetensors").exists()


def test_a_finished_table_needs_nothing(smoke):
    assert "Nothing to be done" in smoke.snakemake("table3").stdout


def test_an_unreachable_tracker_costs_one_warning(smoke, tmp_path):
    state = smoke.path / "runs" / "smoke" / "tracking" / "table3.json"
    assert json.loads(state.read_text())["status"] == "tracked"
    state.unlink()
    usual = smoke.environment
    noted = tmp_path / "network.txt"
    smoke.environment = {
        "NETWORK_CALLS": str(noted),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    done = smoke.snakemake("table3")
    smoke.environment = usual
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("warning: MLflow") == 1
    assert "('127.0.0.1', 9)" in noted.read_text()  # so forks are without a network as well
    assert json.loads(state.read_text())["status"] == "pending"
    assert smoke.snakemake("table3").returncode == 0
    assert json.loads(state.read_text())["status"] == "tracked"
