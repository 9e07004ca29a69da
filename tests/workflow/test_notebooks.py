"""Figures are drawn by executed notebooks: what is kept of them, and what a failing cell leaves."""

import json

import pytest
from workspaces import STRANGE, copy_workflow

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

FIGURE = "figure7"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figure 7 of the smoke preset, which needs the weights of the source alone.

    Notebooks are started in ways of their own, so the folders have strange names.
    """
    space = copy_workflow(tmp_path_factory.mktemp("figures") / "a b" / STRANGE)
    preset = space.path / STRANGE / "smoke.yaml"
    preset.parent.mkdir()
    (space.path / "config" / "presets" / "smoke.yaml").rename(preset)
    space.preset = str(preset.relative_to(space.path))
    space.done = space.snakemake(FIGURE)
    assert space.done.returncode == 0, space.done.stdout
    return space


def outputs(notebook):
    """Everything that the cells of an executed notebook put out."""
    cells = json.loads(notebook.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_the_executed_notebook_is_kept_with_its_picture(drawn):
    executed = drawn.path / "logs" / "smoke" / "figure" / f"{FIGURE}.ipynb"
    assert any("image/png" in output.get("data", {}) for output in outputs(executed))
    folder = drawn.path / "results" / "smoke" / "figures"
    for ending in ("csv", "facts.json", "png", "svg", "pdf", "manifest.json"):
        assert (folder / f"{FIGURE}.{ending}").stat().st_size > 0
    manifest = json.loads((folder / f"{FIGURE}.manifest.json").read_text())
    assert manifest["command"] == [f"analysis/{FIGURE}.ipynb"]
    assert "source/similarity/weights/debiased/up_proj.csv" in manifest["inputs"]


def test_a_failing_cell_fails_the_rule_and_leaves_its_traceback_but_no_picture(drawn):
    notebook = drawn.path / "analysis" / f"{FIGURE}.ipynb"
    whole = notebook.read_text()
    try:
        notebook.write_text(whole.replace("picture = figure.draw()", "raise RuntimeError('torn')"))
        done = drawn.snakemake(FIGURE)
    finally:
        notebook.write_text(whole)
    assert done.returncode != 0
    executed = drawn.path / "logs" / "smoke" / "figure" / f"{FIGURE}.ipynb"
    errors = [output for output in outputs(executed) if output["output_type"] == "error"]
    assert [(error["ename"], error["evalue"]) for error in errors] == [("RuntimeError", "torn")]
    folder = drawn.path / "results" / "smoke" / "figures"
    left = {path.name for path in folder.iterdir()}
    assert left == {f"{FIGURE}.csv", f"{FIGURE}.facts.json"}, "a stale picture is left"
    again = drawn.snakemake(FIGURE)
    assert again.returncode == 0, again.stdout
    assert (folder / f"{FIGURE}.png").exists()
