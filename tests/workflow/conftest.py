"""Fresh working folders for tests that run Snakemake."""

from pathlib import Path

import pytest
from workspaces import DrivenWorkspace, Workspace, copy_workflow


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return copy_workflow(tmp_path)


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> DrivenWorkspace:
    """A workspace in which table3 has been made once by the stand-in."""
    laid = copy_workflow(tmp_path_factory.mktemp("driven"))
    space = DrivenWorkspace(laid.path, preset="laptop")
    space.first_jobs = space.jobs()
    return space
