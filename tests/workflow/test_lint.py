"""Snakemake's own linter has nothing to say but one thing, which is a decision (0003)."""

import re

import pytest

pytestmark = pytest.mark.workflow

# One environment serves every rule: the project's own, pinned in requirements.lock.
DECIDED = "Specify a conda environment or container for each rule."


def test_lint_is_clean(workspace):
    done = workspace.snakemake("--lint")
    found = re.findall(r"^ {4}\* (.+):$", done.stdout, flags=re.M)
    assert found and set(found) == {DECIDED}, done.stdout
