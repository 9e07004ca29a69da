"""The threads that a job of training is given."""

import re

import pytest

from lemon.provenance import host

pytestmark = pytest.mark.workflow

PAIR = "base: smoke\ndescription: two processes\ncompute: {devices: 2}\n"


def threads_of_learning(workspace, cores: str) -> set[str]:
    options = ("--dry-run", "--printshellcmds", "--cores", cores, "--max-threads", cores)
    planned = workspace.snakemake("table3", *options).stdout
    return set(re.findall(r"OMP_NUM_THREADS=(\d+) [^\n]*lemon learn", planned))


def test_two_trainings_share_the_cores_where_memory_holds_both(workspace):
    both = host()["memory_bytes"] >= 2 * 5.5e9  # `mem_mb` of training
    assert threads_of_learning(workspace, "4") == {"2" if both else "4"}
    assert threads_of_learning(workspace, "3") == {"2" if both else "3"}
    assert threads_of_learning(workspace, "1") == {"1"}


def test_two_processes_share_all_cores(workspace):
    (workspace.path / "config" / "presets" / "pair.yaml").write_text(PAIR)
    workspace.preset = "pair"
    assert threads_of_learning(workspace, "4") == {"2"}
