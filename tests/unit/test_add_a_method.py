"""The guide "add a method", followed word by word: its method is built, and learned from; what is
left out or wrong is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lemon.methods
from lemon.checkpoint import Checkpoint
from lemon.configuration import methods
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.learning.run import learn
from lemon.methods.build import build
from lemon.operators.factor import one_hot
from lemon.operators.file import load_operators

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "add-a-method.md"
BUILDER = """import torch
from lemon.operators.factor import Dense

def build(context):
    return RETURNED
"""


@pytest.fixture
def blocks() -> dict[str, list[str]]:
    """The guide's blocks of code, by language."""
    found: dict[str, list[str]] = {}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        found.setdefault(language, []).append(block)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder whose modules are builders too."""
    monkeypatch.setattr(lemon.methods, "__path__", [*lemon.methods.__path__, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("lemon.methods.strided", None)


@pytest.fixture
def project(blocks, config, monkeypatch) -> Project:
    """The preset smoke with the row, the runs and the table of the guide."""
    added = eval(blocks["python"][1], {"Method": methods.Method})
    monkeypatch.setitem(methods.METHODS, added.name, added)
    for name, block in (("runs.tsv", blocks["tsv"][0]), ("paper.yaml", blocks["yaml"][0])):
        with (config / name).open("a") as file:
            file.write(block)
    return load_project("smoke", config)


def test_the_guide_adds_a_method(blocks, project, folder, learning_world, tmp_path) -> None:
    (folder / "strided.py").write_text(blocks["python"][0])
    shown = ["source", "cut-75", "strided-75", "lemon-strided-75"]
    assert [*project.shown_models("strided")] == shown

    build(project, "strided-75", learning_world.source, tmp_path / "built")
    operators, metadata = load_operators(tmp_path / "built" / "operators.safetensors")
    depth = Checkpoint(learning_world.source).shape.num_hidden_layers
    assert (depth, metadata.method) == (6, "strided")
    assert one_hot(operators.gamma["q"]).chosen.tolist() == [0, 1, 3, 4]
    learn(
        *(project, "lemon-strided-75", learning_world.source, learning_world.text),
        tmp_path / "learned",
    )
    learned, _ = load_operators(tmp_path / "learned" / "operators.safetensors")
    assert one_hot(learned.gamma["q"]) is None


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"'strided' has a row in the registry and no builder; write .*methods/strided\.py"),
        ("Operators = None\n", "no builder"),
        (
            BUILDER.replace("RETURNED", "context.keeping_layers([0, 1])"),
            r"other sizes than the run's target: num_hidden_layers 2, not 4; .*methods/strided\.py",
        ),
        (
            BUILDER.replace("RETURNED", "context.layer_operators(Dense(torch.ones(4, 6) / 6))"),
            "adds layers up, .* mixes=True into its row",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_told(
    module, message, project, folder, learning_world, tmp_path
) -> None:
    if module is not None:
        (folder / "strided.py").write_text(module)
    with pytest.raises(BadInput, match=message):
        build(project, "strided-75", learning_world.source, tmp_path / "built")
    assert not (tmp_path / "built").exists()
