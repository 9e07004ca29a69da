"""A table with rows that start from others, with seeds and without: its runs, files and tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from chained_table import chained, compared
from fabricated_runs import write_runs, write_scored

from lemon.configuration.project import Project
from lemon.reporting.claims.orderings import OrderingTest


@pytest.fixture(scope="session")
def chained_project(laptop: Project) -> Project:
    return chained(laptop)


@pytest.fixture(scope="session")
def chained_runs(chained_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chained") / "runs"
    return write_runs(chained_project, "table3", folder, documents=40)


@pytest.fixture(scope="session")
def chained_tables(chained_project: Project, chained_runs: Path) -> Path:
    write_scored(chained_project, "table3", chained_runs, chained_runs.parent / "tables")
    return chained_runs.parent / "tables"


@pytest.fixture(scope="session")
def orders(chained_project: Project, chained_runs: Path) -> list[OrderingTest]:
    return compared(chained_project, chained_runs)
