"""A second size of the source's family: of which presets, in which figure, under which name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_figures import falling_map, write_maps

from lemon.cli import main
from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.data.source_model import prepare_source
from lemon.published.models import LLAMA2_13B
from lemon.reporting.facts.figure import figure_departures
from lemon.reporting.facts.similarity_maps import weights_floor
from lemon.reporting.figures.figure import gathered_numbers, write_figure_numbers

CONFIG = Path(__file__).parents[2] / "config"


def figure8(project: Project) -> FigureSpec:
    spec = project.entry("figure8")
    assert isinstance(spec, FigureSpec)
    return spec


def test_the_paper_compares_llama2_7b_with_13b() -> None:
    project = load_project("paper", CONFIG)
    assert project.run("second-size").target_shape == LLAMA2_13B
    assert "llama-2-13b" in project.needed_assets()
    assert figure8(project).runs == ["source", "second-size"]
    assert figure8(project).notes == ()


def test_a_preset_without_one_shows_a_model_of_its_own(laptop: Project) -> None:
    assert "second-size" not in laptop.runs
    assert figure8(laptop).runs == ["source", "lemon-prune-width"]
    assert [panel.label for panel in figure8(laptop).panels] == ["Source", "LEMON-Prune 2-2"]
    assert "fused from the first" in figure8(laptop).notes[0]


@pytest.mark.parametrize(
    ("preset", "second"), [("laptop", "lemon-prune-width"), ("smoke", "random-8-layers")]
)
def test_another_second_size_than_the_papers_is_a_departure(preset: str, second: str) -> None:
    project = load_project(preset, CONFIG)
    departures = {d.setting: d.here for d in figure_departures(project, figure8(project))}
    assert departures["second size"] == second


def test_a_second_size_has_its_own_name_depth_and_floor(smoke: Project, tmp_path: Path) -> None:
    """The smoke preset's: FFN of 192 units over 96 coordinates, floor 2 / 3; 8 layers beside 6."""
    shape = smoke.run("second-size").target_shape
    assert weights_floor(shape, "ffn") == pytest.approx(192 / (192 + 96))
    write_maps(
        smoke, "figure8", tmp_path, {"source": falling_map(6), "second-size": falling_map(8)}
    )
    numbers = gathered_numbers(smoke, "figure8", tmp_path)
    labels = numbers.frame.groupby("panel")["label"].unique().map(list)
    assert labels.to_list() == [["random-6-layers"], ["random-8-layers"]]
    assert "Run second-size: 8 layers" in numbers.words.caption
    write_figure_numbers(smoke, "figure8", tmp_path, tmp_path / "figures")
    assert json.loads((tmp_path / "figures" / "figure8.facts.json").read_text())["findings"]


def test_its_weights_are_those_that_the_preset_describes(smoke: Project, tmp_path: Path) -> None:
    settings = smoke.run("second-size").given_model
    assert settings is not None
    out = tmp_path / "second-size"
    prepare_source(settings, lock={}, cache=tmp_path, out=out, seed=0)
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 8


def test_preparing_what_the_preset_has_not_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "assets.lock.json"
    lock.write_text("{}")
    command = ["--config", str(CONFIG), "prepare", "second-size", "--preset", "laptop"]
    assert main([*command, "--assets", str(lock), "--out", str(tmp_path / "out")]) == 2
    assert "preset laptop has no second size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
