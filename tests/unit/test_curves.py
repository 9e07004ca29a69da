"""Figure 4, left and middle: the curves, and the claims that are read off them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import scored_text, write_metrics, write_runs, write_scored_text

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.claims.curves import catches_up_early, reaches_pruning_sooner
from lemon.reporting.claims.verdict import BELOW_FLOOR, FAILS, HOLDS, UNRESOLVED
from lemon.reporting.facts.curves import TuneCurveFacts, score_curve_facts
from lemon.reporting.facts.setup import setup_of
from lemon.reporting.figures.figure import write_figure

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("smoke", CONFIG)


def curves(
    project: Project, fusion: dict[int, float], pruning: dict[int, float], floor: float = 90.0
) -> TuneCurveFacts:
    """Facts of two curves, perplexity by step; a step takes 2 s and 100 tokens."""
    spec = project.entry("figure4-middle")
    lines = [
        {
            **{"curve": curve.label, "run": curve.runs[0], "seed": 0, "step": step},
            **{"tokens": 100 * step, "seconds": 2.0 * step, "perplexity": value},
        }
        for curve, values in zip(spec.curves, (fusion, pruning), strict=True)
        for step, value in values.items()
    ]
    setup = setup_of(project)
    quoted = {"LEMON": (2000, 7.47), "Sheared-LLaMA": (4800, 7.49), "parity": (500, 500.0)}
    shown = ("figure4-middle", spec, setup, [], pd.DataFrame(lines), [], {})
    return TuneCurveFacts(*shown, quoted, floor)


PRUNING = {0: 20.0, 100: 40.0, 200: 10.0}


@pytest.mark.parametrize(
    ("fusion", "verdict", "said"),
    [
        (
            {0: 1000.0, 40: 12.0, 80: 9.9},
            HOLDS,
            "at step 80, 40% of the steps (paper 42%) and 160 s",
        ),
        (
            {0: 1000.0, 40: 12.0, 90: 9.9},
            FAILS,
            "at step 90, 45% of the steps (paper 42%) and 180 s",
        ),
        ({0: 1000.0, 84: 10.1}, FAILS, "fusion gets to 10.1 at best in 84 steps"),
        ({0: 1000.0, 83: 10.1}, UNRESOLVED, "at best in 83 steps"),  # of 83.3 in which it might
    ],
)
def test_far_fewer_steps_are_those_of_the_paper(project, fusion, verdict, said) -> None:
    words, found = reaches_pruning_sooner(curves(project, fusion, PRUNING))
    assert found == verdict and said in words
    assert words.startswith("pruning ends at 10 after 200 steps, 400 s; ")
    assert words.endswith(" (1 seed a curve)")
    assert reaches_pruning_sooner(curves(project, fusion, PRUNING, floor=9.0))[1] == BELOW_FLOOR


def test_pruning_is_read_between_its_measurements(project) -> None:
    # At step 25 and 50 pruning is at 25 and 30: 20 + 20 / 100 a step.
    words, found = catches_up_early(curves(project, {0: 99.0, 25: 24.9, 50: 28.0}, PRUNING))
    assert found == HOLDS
    assert words == (
        "pruning minus fusion is +2 at step 50 of fusion's 50; fusion is ahead from step 25"
        " (1 seed a curve)"
    )
    # A quarter of fusion's 100 steps is 25, where it is behind.
    _, late = catches_up_early(curves(project, {0: 99.0, 25: 25.1, 100: 1.0}, PRUNING))
    assert late == FAILS
    words, _ = catches_up_early(curves(project, {0: 99.0, 100: 50.0}, PRUNING))
    assert words.endswith("fusion is never ahead (1 seed a curve)")


def test_a_curve_goes_from_its_start_through_its_snapshots_to_its_end(project, tmp_path) -> None:
    runs = write_runs(project, "figure4-left", tmp_path / "runs", documents=30)
    facts = score_curve_facts(project, "figure4-left", runs)
    points = facts.frame.groupby("curve")["tokens"].apply(list)
    # 8 steps of 4 sequences of 32 tokens; a model from random weights has no start.
    assert points["LEMON 2-2"] == [0, 256, 512, 1024]
    assert points["Scratch"] == [256, 512, 1024]
    assert (facts.frame["mean_low"] <= facts.frame["mean"]).all()
    assert (facts.frame["bits_per_byte"] <= facts.frame["bits_high"]).all()
    assert facts.inputs.keys() >= {"shear-width", "scratch-width/snapshots/256", "scratch-width"}


@pytest.mark.parametrize("figure", ["figure4-left", "figure4-middle"])
def test_the_figures_are_drawn_the_same_each_time(project, tmp_path, figure) -> None:
    runs = tmp_path / "runs"
    if figure == "figure4-left":
        write_runs(project, figure, runs, documents=30)
    else:
        write_scored_text(scored_text(runs))
        for run in map(project.run, project.entry(figure).runs):
            write_metrics(runs / run.id, run.steps)
            metrics = runs / run.id / "metrics.jsonl"
            lines = metrics.read_text().replace("train/loss", "tune/perplexity")
            metrics.write_text(lines)
            (runs / run.id / "manifest.json").unlink()
    for folder in ("one", "two"):
        write_figure(project, figure, runs, tmp_path / folder, scored_text(runs))
    for suffix in ("csv", "facts.json", "png", "svg", "pdf"):
        first, second = (tmp_path / folder / f"{figure}.{suffix}" for folder in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_a_run_that_measured_nothing_is_named(project, tmp_path) -> None:
    for run in map(project.run, project.entry("figure4-middle").runs):
        write_metrics(tmp_path / run.id, run.steps)
    with pytest.raises(BadInput, match="holds fewer than two of tune/perplexity"):
        write_figure(project, "figure4-middle", tmp_path, tmp_path / "out", tmp_path)
    with pytest.raises(BadInput, match="name the text's folder by --text"):
        write_figure(project, "figure4-middle", tmp_path, tmp_path / "out")


def test_both_kinds_of_curve_are_needed(project) -> None:
    spec = project.entry("figure4-middle")
    assert [project.run(run).method.prunes for run in spec.runs] == [False, True]
