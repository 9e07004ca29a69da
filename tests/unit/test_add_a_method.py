"""The guide "add a method", followed word by word: its method is built, and learned from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import lemon.methods
from lemon.checkpoint import Checkpoint
from lemon.configuration import methods
from lemon.configuration.load import load_project
from lemon.learning.run import learn
from lemon.methods.build import build
from lemon.operators.factor import one_hot
from lemon.operators.file import load_operators

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "add-a-method.md"


@pytest.fixture
def blocks() -> dict[str, list[str]]:
    """The guide's blocks of code, by language."""
    found: dict[str, list[str]] = {}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        found.setdefault(language, []).append(block)
    return found


def test_the_guide_adds_a_method(blocks, learning_world, tmp_path, monkeypatch) -> None:
    module, row = blocks["python"]
    (tmp_path / "strided.py").write_text(module)
    monkeypatch.setattr(lemon.methods, "__path__", [*lemon.methods.__path__, str(tmp_path)])
    added = eval(row, {"Method": methods.Method})
    monkeypatch.setitem(methods.METHODS, added.name, added)

    config = Path(shutil.copytree(ROOT / "config", tmp_path / "config"))
    with (config / "runs.tsv").open("a") as runs:
        runs.write(blocks["tsv"][0])
    paper, shown = config / "paper.yaml", blocks["yaml"][0]
    rows = "".join(f"    {line}\n" for line in shown.splitlines())
    cut = "    - {label: Cut, target: width-62, runs: [cut-width]}\n"
    head, table, rest = paper.read_text().partition("\nmethods-trained:\n")
    paper.write_text(head + table + rest.replace(cut, rows + cut, 1))
    project = load_project("smoke", config)
    assert {"strided-75", "lemon-strided-75"} <= set(project.shown_models("methods-trained"))

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
