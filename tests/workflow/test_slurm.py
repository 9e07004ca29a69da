"""The Slurm profile as written, on a Slurm of one node that claims eight GPUs."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from few_runs import keep_runs
from ranks import train_alone
from single_node_slurm import absent, single_node_slurm
from workspaces import Workspace, copy_workflow

from lemon.events import read_events

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(bool(absent()), reason=f"no Slurm here: {', '.join(absent())} missing"),
]

RUN, STEPS = "lemon-cut-75", 13
PRESET = f"""\
base: smoke
description: two processes, each with a GPU
compute: {{device: cuda, dtype: float32, devices: 2}}
budgets: {{fusion: {STEPS}}}
"""
LEARNER = Path(__file__).parent / "waiting_learner.py"
PATIENCE_S = 500


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A Slurm of one node, whose commands are first in PATH."""
    with single_node_slurm(tmp_path / "slurm") as commands:
        monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture
def space(tmp_path) -> Workspace:
    """A workspace in which `lemon` waits while it learns."""
    space = copy_workflow(tmp_path / "work")
    keep_runs(space.path / "config", "table3", ["source", RUN])
    (space.path / "config" / "presets" / "pair.yaml").write_text(PRESET)
    command = tmp_path / "bin" / "lemon"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{LEARNER}" "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{space.variables()['PATH']}"
    space.environment = {"PATH": path}
    return space


@pytest.mark.usefixtures("cluster")
def test_a_run_of_two_processes_is_killed_and_runs_out_of_time(space, learning_world, tmp_path):
    """Each job takes five steps and then waits; the third one has no more left."""
    out, log = space.path / "runs" / "pair" / RUN, tmp_path / "snakemake.log"
    own = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
    words = ["table3", "--workflow-profile", "profiles/slurm", *own, "--config", "preset=pair"]
    with log.open("w") as file:
        workflow = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words],
            cwd=space.path,
            env=space.variables(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def until(done: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert workflow.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def reached(step: int) -> bool:
        return any(event["step"] == step for event in read_events(out / "metrics.jsonl"))

    try:
        until(lambda: reached(5))
        [killed] = learning_jobs()
        asked = scontrol("show", "job", killed)
        for what in ("NumNodes=1", "NumTasks=1", "CPUs/Task=16", "gres:gpu:2", "Node=11000M"):
            assert what in asked, asked
        assert any("--gpus=2" in words for words in steps(space))
        subprocess.run(["scancel", "--signal=KILL", "--full", killed], check=True)
        until(lambda: resumed(space) >= 4 and reached(resumed(space) + 5))
        first = resumed(space)
        [ended] = learning_jobs()
        scontrol("update", f"JobId={ended}", "TimeLimit=1")
        until(lambda: resumed(space) == first + 6)  # it has taken the step for which it waited
        assert "JobState=TIMEOUT" in scontrol("show", "job", ended)
        code = workflow.wait(PATIENCE_S)
    finally:
        workflow.kill()
    assert code == 0, log.read_text()
    assert (space.path / "results" / "pair" / "tables" / "table3.csv").is_file()
    whole = train_alone(learning_world, RUN, tmp_path / "whole", steps=STEPS)
    name = "operators.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()


def resumed(space: Workspace) -> int:
    """The step from which the last job that learned has gone on; 0 if from none."""
    log = space.path / "logs" / "pair" / "learn" / f"{RUN}.log"
    told = log.read_text() if log.is_file() else ""  # a new job removes it
    steps = re.findall(rf"{RUN}: goes on after step (\d+) of {STEPS}", told)
    return int(steps[-1]) if steps else 0


def learning_jobs() -> list[str]:
    """The running jobs that learn, by their number."""
    command = ["squeue", "--noheader", "--states=R", "--format=%i %k"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines() if "rule_learn" in line]


def steps(space: Workspace) -> list[list[str]]:
    """The calls of `srun` by which the running jobs of a workspace have begun."""
    calls = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    own = [words for words in calls if str(space.path) in " ".join(words)]
    return [words for words in own if Path(words[0]).name == "srun"]


def scontrol(*words: str) -> str:
    """What `scontrol` says."""
    done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=True)
    return done.stdout
