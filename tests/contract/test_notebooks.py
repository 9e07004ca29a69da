"""Each figure has its notebook, thin and stripped, which also runs alone on committed results."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from lemon.configuration.load import load_project

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
PROJECT = load_project("laptop", ROOT / "config")
FIGURES = [name for name, entry in PROJECT.tables.items() if entry.is_figure]


def code_cells(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_every_figure_has_its_notebook_and_every_notebook_its_figure() -> None:
    assert sorted(path.stem for path in NOTEBOOKS) == sorted(FIGURES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_know_the_reporting_alone(path: Path) -> None:
    source = "\n".join(code_cells(path))
    assert len(source.splitlines()) <= 40
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.module.startswith("lemon.reporting")
        assert not isinstance(node, ast.Import)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_shows_and_has_its_knobs_at_the_top(path: Path) -> None:
    first, opening = nbformat.read(path, as_version=4).cells[:2]
    assert first.cell_type == "markdown" and len(first.source.split()) >= 15
    named = [node for node in ast.parse(opening.source).body if isinstance(node, ast.Assign)]
    knobs = [target.id for node in named for target in node.targets if isinstance(target, ast.Name)]
    assert knobs[0] == "PRESET" and knobs[-1] == "figure"
    assert all(name.isupper() for name in knobs[:-1])
    later = "\n".join(code_cells(path))
    assert all(later.count(name) >= 2 for name in knobs), "a knob that changes nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_code_host_shows_the_committed_picture(path: Path) -> None:
    """Outputs are not committed: they would repeat the results, and grow by a picture a change."""
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert [Path(name).stem for name in shown] == [path.stem]
    assert (path.parent / shown[0]).is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert notebook.metadata.kernelspec.language == "python"  # Snakemake asks for it


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_alone_and_leaves_the_results_as_they_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells in one namespace, as Jupyter runs them, from the folder where it lies."""
    folder = ROOT / "results" / "laptop" / "figures"
    if not (folder / f"{path.stem}.csv").is_file():
        pytest.fail(f"{folder / path.stem}.csv is not committed; make {path.stem}")
    monkeypatch.chdir(path.parent)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    namespace: dict[str, object] = {}
    for cell in code_cells(path):
        exec(compile(cell, str(path), "exec"), namespace)
    if findings := [cell for cell in code_cells(path) if cell == "figure.findings()"]:
        shown = eval(findings[0], namespace)
        assert all(text in shown.to_html(escape=False) for text in shown["measured"])  # in full
    picture = namespace["picture"]._repr_png_()  # type: ignore[attr-defined]
    assert picture.startswith(b"\x89PNG")
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
