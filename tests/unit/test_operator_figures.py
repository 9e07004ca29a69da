"""Figures 5 and 10: gamma beside its start, and the claim about distance, on made-up operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_figures import write_gamma

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.facts.layer_operators import gamma_of, operator_lines, start_layers
from lemon.reporting.figures.figure import gathered_numbers, write_figure

SHAPE = (22, 30)
CUT = np.eye(*SHAPE)
APART = np.abs(np.arange(30)[None] - np.arange(22)[:, None])


def written(project: Project, runs: Path, change: np.ndarray) -> Path:
    write_gamma(project, runs, "cut-75", CUT)
    write_gamma(project, runs, "lemon-cut-75", CUT + change)
    return runs


def test_lines_hold_what_was_learned_and_what_it_started_from(
    project: Project, tmp_path: Path
) -> None:
    change = np.arange(22 * 30).reshape(SHAPE) / 1000
    spec = project.entry("figure5")
    assert isinstance(spec, FigureSpec)
    frame = operator_lines(project, spec, written(project, tmp_path, change))
    np.testing.assert_allclose(gamma_of(frame, 1), CUT + change, atol=1e-6)
    np.testing.assert_array_equal(gamma_of(frame, 1, "start"), CUT)
    assert start_layers(gamma_of(frame, 0, "start")) == list(range(22))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (0.01 - 0.001 * APART, "holds"),  # from +0.009 at distance 1 to -0.011 at 21
        (0.03 - 0.001 * APART, "does not hold"),  # falls, and stays positive
        (0.001 * APART - 0.03, "does not hold"),  # negative, and rises
    ],
)
def test_the_claim_asks_for_both_a_fall_and_negative_weights_far_away(
    project: Project, tmp_path: Path, change: np.ndarray, verdict: str
) -> None:
    numbers = gathered_numbers(project, "figure10", written(project, tmp_path, change))
    assert [(f.claim, f.verdict) for f in numbers.words.findings] == [("C25", verdict)]
    assert "9 of 9" in numbers.words.findings[0].measured or verdict != "holds"


def test_the_caption_names_the_run_its_start_and_its_shorter_learning(
    project: Project, tmp_path: Path
) -> None:
    numbers = gathered_numbers(project, "figure5", written(project, tmp_path, 0 * APART))
    for words in ("lemon-cut-75", "30 layers fused to 22", "from cut", "80 (paper 1,200)"):
        assert words in numbers.words.caption


@pytest.mark.slow
def test_the_picture_is_drawn_where_nothing_was_learned(project: Project, tmp_path: Path) -> None:
    runs = written(project, tmp_path / "runs", 0 * APART)
    write_figure(project, "figure10", runs, tmp_path)
    assert (tmp_path / "figure10.manifest.json").is_file()


def test_missing_operators_of_the_start_are_named(project: Project, tmp_path: Path) -> None:
    write_gamma(project, tmp_path, "lemon-cut-75", CUT)
    with pytest.raises(BadInput, match=r"cut-75/operators\.safetensors: no such file"):
        gathered_numbers(project, "figure5", tmp_path)
