"""The Slurm profile as written, on a Slurm of one node, with a job that its node kills."""

import os
import subprocess
import time

import pytest
from single_node_slurm import absent, single_node_slurm
from workspaces import DrivenWorkspace, copy_workflow, keep_runs

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(bool(absent()), reason=f"no Slurm here: {', '.join(absent())} missing"),
]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A Slurm of one node, whose commands are first in PATH."""
    with single_node_slurm(tmp_path / "slurm") as commands:
        monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.mark.usefixtures("cluster")
def test_a_job_that_was_killed_is_taken_up_again(tmp_path):
    laid = copy_workflow(tmp_path / "work")
    keep_runs(laid.path / "config", "table3", ["source", "lemon-cut-75"])
    space = DrivenWorkspace(laid.path)
    space.environment = {**space.stand_in(), "HANGING": "learn"}
    space.calls.write_text("")
    own = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
    with (tmp_path / "snakemake.log").open("w") as log:
        process = subprocess.Popen(
            space.command("table3", "--workflow-profile", "profiles/slurm", *own),
            cwd=space.path,
            env=space.variables(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        while not learns(space) and process.poll() is None:
            time.sleep(0.2)
        subprocess.run(["scancel", "--signal=KILL", "--full", *jobs("rule_learn")], check=True)
        code = process.wait(570)
    finally:
        process.kill()
    assert code == 0, (tmp_path / "snakemake.log").read_text()
    assert learns(space) == 2
    assert (space.path / "results" / "smoke" / "tables" / "table3.csv").is_file()


def learns(space: DrivenWorkspace) -> int:
    """How often `lemon learn` was called."""
    return sum(call.startswith("learn ") for call in space.calls.read_text().splitlines())


def jobs(rule: str) -> list[str]:
    """The running jobs of a rule, by their number."""
    command = ["squeue", "--noheader", "--states=R", "--format=%i %k"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines() if rule in line]
