"""What the unit tests share."""

import pytest

from lemon.configuration.project import Project


@pytest.fixture(scope="session")
def project(laptop: Project) -> Project:
    """The project of most tests of tables; other files have their own."""
    return laptop
