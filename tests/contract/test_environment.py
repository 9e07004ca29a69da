"""One set of pinned versions serves pip and conda, and holds all that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text()
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", LOCK, flags=re.M)
}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ASKED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]


def test_every_line_is_an_exact_public_version():
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert len(lines) == len(PINS)
    assert not [name for name, version in PINS.items() if "+" in version]


@pytest.mark.parametrize("dependency", ASKED)
def test_every_dependency_is_pinned_within_its_bounds(dependency):
    asked = Requirement(dependency)
    assert PINS[canonicalize_name(asked.name)] in asked.specifier


def test_cuda_libraries_are_left_to_torch():
    assert not [name for name in PINS if name.startswith("nvidia-")]


def test_conda_takes_the_same_file():
    assert "-r requirements.lock" in (REPOSITORY / "environment.yml").read_text()
