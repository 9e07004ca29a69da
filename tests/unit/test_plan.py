"""What is left of a table, judged by the manifests that are there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lemon import plan
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.files.manifest import write_manifest
from lemon.flops import forward_flops
from lemon.work_left import (
    BYTES,
    EFFICIENCY,
    RunCost,
    attention_to_examples_flops,
    checkpoint_bytes,
    run_costs,
)

CONFIG = Path(__file__).parents[2] / "config"
RUNS = Path("runs", "smoke")


def finish(smoke: Project, run: str, folder: Path, *parts: str, key: str | None = None) -> None:
    """The manifests of a run's jobs: its operators, and the named folders beside them."""
    own = folder / RUNS / run
    key = key or stage_params(smoke, "learn", run)
    write_manifest(own / "manifest.json", "learn", files=[], started=0.0, key=key)
    for part in parts:
        write_manifest(own / part / "manifest.json", "fuse", files=[], started=0.0)


def left(smoke: Project, table: str, folder: Path) -> dict[str, RunCost]:
    return {cost.run.id: cost for cost in run_costs(smoke, [table], folder)}


def test_a_finished_run_costs_nothing(smoke: Project, tmp_path: Path) -> None:
    before = left(smoke, "table3", tmp_path)["lemon-cut-75"]
    assert (before.jobs, before.steps) == (3, smoke.run("lemon-cut-75").steps)
    finish(smoke, "lemon-cut-75", tmp_path, "model", "outcomes")
    done = left(smoke, "table3", tmp_path)["lemon-cut-75"]
    assert (done.jobs, done.steps, done.tokens, done.flops, done.written) == (0, 0, 0, 0.0, 0)
    assert left(smoke, "table3", tmp_path)["lemon-cut-50"].jobs == 3


def test_the_jobs_of_a_run_are_counted_one_by_one(smoke: Project, tmp_path: Path) -> None:
    finish(smoke, "lemon-cut-75", tmp_path)
    made = left(smoke, "table3", tmp_path)["lemon-cut-75"]
    assert (made.jobs, made.steps) == (2, 0)
    assert made.flops > 0 and made.written > 0
    finish(smoke, "lemon-cut-75", tmp_path, "model")
    fused = left(smoke, "table3", tmp_path)["lemon-cut-75"]
    assert (fused.jobs, fused.written) == (1, 0)
    finish(smoke, "lemon-width-2-2", tmp_path, "model")
    both = left(smoke, "table2-starts", tmp_path)["lemon-width-2-2"]
    assert both.jobs == 2  # two suites


def test_a_target_whose_ffns_are_tied_keeps_its_layers(smoke: Project, tmp_path: Path) -> None:
    lines = plan.plan(smoke, ["methods"], tmp_path).text.splitlines()
    shapes = [line for line in lines if line.startswith("depth-75 ") and " layers, " in line]
    tied = smoke.run("ff-merge-75").tied_ffn_layers
    assert ["4 layers" in shapes[0], "6 layers" in shapes[1]] == [True, True]
    assert [line.endswith(f", {tied} of the layers sharing one FFN") for line in shapes] == [
        False,
        True,
    ]


def test_pre_training_is_counted_with_its_text_and_its_models(
    smoke: Project, tmp_path: Path
) -> None:
    run = smoke.run("lemon-width-2-2-pretrained")
    cost = left(smoke, "table2", tmp_path)[run.id]
    assert (cost.jobs, cost.steps) == (3, run.steps)  # itself, and two suites
    length = smoke.preset.text.sequence_length
    assert cost.tokens == run.steps * run.pretraining.batch_sequences * length
    per_token = (3 + run.pretraining.recompute) * forward_flops(run.target_shape, length)
    assert cost.flops > cost.tokens * per_token
    size = run.target_shape.num_parameters * BYTES[smoke.preset.source.dtype]
    assert cost.written == (1 + len(run.snapshots)) * size


def test_changed_settings_and_a_damaged_manifest_are_not_finished(
    smoke: Project, tmp_path: Path
) -> None:
    finish(smoke, "lemon-cut-75", tmp_path, "model", "outcomes", key="of other settings")
    assert left(smoke, "table3", tmp_path)["lemon-cut-75"].jobs == 3
    finish(smoke, "lemon-cut-75", tmp_path, "model", "outcomes")
    (tmp_path / RUNS / "lemon-cut-75" / "manifest.json").write_text("{}")
    assert left(smoke, "table3", tmp_path)["lemon-cut-75"].jobs == 3


def test_a_run_waits_for_those_before_it(smoke: Project, tmp_path: Path) -> None:
    """Its start is made again, and then itself."""
    finish(smoke, "lemon-prune-75", tmp_path, "model", "outcomes")
    assert left(smoke, "table3", tmp_path)["lemon-prune-75"].jobs == 3
    finish(smoke, "shear-75", tmp_path)
    assert left(smoke, "table3", tmp_path)["lemon-prune-75"].jobs == 0
    stages = left(smoke, "small", tmp_path)
    assert "lemon-width-small" in stages  # the first of two stages, which the table does not show
    assert stages["lemon-width-small"].jobs == 2


def test_the_plan_names_what_is_done(
    smoke: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "matmul_rate", lambda *_: 1e9)
    finish(smoke, "lemon-cut-75", tmp_path, "model", "outcomes")
    text = plan.plan(smoke, ["table3"], tmp_path).text
    shown = len(smoke.table_runs("table3"))
    assert f"{shown - 1} runs to do" in text
    assert "done      1 runs: lemon-cut-75" in text
    assert "\nlemon-cut-50 " in text and "\nlemon-cut-75 " not in text
    assert "download  nothing, all assets are fetched" not in text
    lock = tmp_path / "data" / "smoke" / "assets.lock.json"
    lock.parent.mkdir(parents=True)
    lock.write_text("{}")
    assert (
        "download  nothing, all assets are fetched" in plan.plan(smoke, ["table3"], tmp_path).text
    )


def test_several_tables_have_a_line_each_with_what_is_left_of_it(
    smoke: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "matmul_rate", lambda *_: 1e9)
    for run in smoke.table_runs("figure5"):
        finish(smoke, run, tmp_path, "model", "outcomes")
    text = plan.plan(smoke, ["table3", "figure5"], tmp_path).text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    runs = left(smoke, "table3", tmp_path).values()
    counts = [sum(cost.jobs > 0 for cost in runs), sum(cost.steps > 0 for cost in runs)]
    minutes = sum(cost.seconds(1e9) for cost in runs) / 60
    assert lines["table3"] == [*map(str, counts), f"{minutes:.1f}"]
    assert lines["figure5"] == ["0", "0", "0.0"]
    assert "minutes" not in plan.plan(smoke, ["table3"], tmp_path).text.splitlines()[1]


# CPU seconds of all jobs of a run of the laptop preset, on a core that multiplies at 430 GFLOP/s.
# For `methods`, those of building and scoring, from the manifests of jobs with one thread.
RECORDED = {
    ("methods", "sleb-50"): 602,
    ("methods", "laco-50"): 220,
    ("methods", "come-sum-75"): 207,
    ("methods", "come-posterior-75"): 468,
    ("methods", "window-drop-50"): 160,
    ("methods", "ff-merge-vanilla-50"): 239,
    ("table3", "source"): 127,
    ("table3", "cut-50"): 102,
    ("table3", "lemon-cut-75"): 340,
    ("table3", "shear-50"): 441,
    ("starts", "lemon-cut-trained-50"): 390,
    ("starts", "cut-tuned-time-75"): 359,
    ("table4", "lemon-width-2-4"): 239,
    ("table2", "scratch-width"): 1128,
    ("table2", "cut-tuned-width-pretrained"): 1138,
}


@pytest.mark.parametrize(("table", "run"), RECORDED)
def test_estimated_times_are_within_half_of_those_that_runs_took(
    laptop: Project, table: str, run: str
) -> None:
    [cost] = [c for c in run_costs(laptop, [table], Path("nowhere")) if c.run.id == run]
    recorded = RECORDED[table, run]
    assert recorded / 1.5 < cost.seconds(430e9) < recorded * 1.5


def test_questions_attend_to_their_examples(laptop: Project) -> None:
    """BoolQ by hand: each token of 200 questions to 32 examples of as many tokens."""
    shape, tokens, examples = laptop.run("scratch-width").target_shape, 150, 32 * 150
    pairs = 200 * tokens * examples + examples**2 / 2
    by_hand = 2 * 2 * 6 * 64 * shape.num_hidden_layers * pairs  # scores and sums, 6 heads of 64
    only = replace(laptop.suite("main"), tasks=("boolq",))
    assert attention_to_examples_flops(laptop, shape, [only]) == by_hand


def test_time_where_no_device_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.4 of what the makers of all devices state, all of which are busy."""
    monkeypatch.setattr(plan, "matmul_rate", lambda *_: None)
    paper = load_project("paper", CONFIG)
    compute = paper.preset.compute
    speed = plan.speed_of(compute)
    assert speed.rate == pytest.approx(8 * 0.4 * 312e12 / EFFICIENCY)
    assert speed.words == "40% of 312 TFLOP/s (compute.teraflops) on 8 devices"
    unknown = plan.speed_of(compute.model_copy(update={"teraflops": None}))
    assert unknown.rate is None and "no compute.teraflops" in unknown.words
    assert 24 < hours(paper, tmp_path) < 72
    assert 12 < hours(load_project("gpu", CONFIG), tmp_path) < 30  # about a day


def hours(smoke: Project, folder: Path) -> float:
    """Those of Table 3 on the devices that the preset states."""
    speed = plan.speed_of(smoke.preset.compute)
    assert speed.rate is not None
    costs = run_costs(smoke, ["table3"], folder)
    return sum(cost.seconds(speed.rate) for cost in costs) / 3600


@pytest.mark.parametrize(
    ("run", "trained"),
    [
        ("lemon-cut-75", 9 * 4 * 6),
        ("shear-75", None),  # all weights, and nothing of its size
    ],
)
def test_a_checkpoint_has_three_numbers_for_each_that_trains(
    smoke: Project, run: str, trained: int | None
) -> None:
    planned = smoke.run(run)
    assert checkpoint_bytes(planned) == 12 * (trained or planned.fused_shape.num_parameters)
