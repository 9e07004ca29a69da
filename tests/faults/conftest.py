"""What the tests of faults share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the committed configuration."""
    return Path(shutil.copytree(Path(__file__).parents[2] / "config", tmp_path / "config"))
