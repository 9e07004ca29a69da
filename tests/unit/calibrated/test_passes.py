"""The passes over text that are planned for a builder, against those that it makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
from replanned import replanned

from lemon.configuration.load import load_project
from lemon.configuration.planned_run import PlannedRun
from lemon.decoder import Decoder
from lemon.flops import forward_flops
from lemon.methods import come, ff_merge, laco
from lemon.methods.build import build
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes, building_flops, passes_of, scored

SMOKE = load_project("smoke", Path(__file__).parents[3] / "config")
BUILT = [  # from the source itself
    run.id
    for run in SMOKE.runs.values()
    if run.method.calibrates and run.source is SMOKE.run("source")
]


@pytest.fixture
def sent(monkeypatch) -> dict[str, int]:
    """Rows that a decoder has sent through a layer, and to the head."""
    rows = {"layer": 0, "final_norm": 0}

    def count(name: str) -> None:
        call = getattr(Decoder, name)

        def counted(self, hidden_BTD, *arguments):
            assert hidden_BTD.shape[1] == SMOKE.preset.text.sequence_length
            rows[name] += len(hidden_BTD)
            return call(self, hidden_BTD, *arguments)

        monkeypatch.setattr(Decoder, name, counted)

    for name in rows:
        count(name)
    return rows


def planned(run: PlannedRun) -> tuple[int, int]:
    """Rows through a layer, and rows to the head."""
    passes = passes_of(run)
    return sum(p.rows * p.layers for p in passes), sum(p.rows * p.losses for p in passes)


@pytest.mark.parametrize("run_id", BUILT)
def test_a_builder_calls_the_layers_that_are_planned(learning_world, tmp_path, sent, run_id):
    run, start = SMOKE.run(run_id), None
    if run.start is not None:  # any operators of its sizes
        start = tmp_path / "start"
        build(SMOKE, run_id.replace(run.method.name, "cut"), learning_world.source, start)
    build(SMOKE, run_id, learning_world.source, tmp_path, start=start, text=learning_world.text)
    layers, losses = planned(run)
    assert sent["final_norm"] == losses
    if run.method.name == "laco":  # whose search ended early
        assert 0.7 * layers < sent["layer"] < layers
    else:
        assert sent["layer"] == layers


@pytest.mark.parametrize(("run_id", "tried"), [("ff-merge-75", 2), ("window-drop-50", 3)])
def test_windows_a_stride_apart_and_fewer_tokens(
    learning_world, tmp_path, sent, monkeypatch, run_id, tried
):
    """FF-merge takes its features from two rows of 32 tokens."""
    monkeypatch.setattr(ff_merge, "TOKENS", 33)
    calibration = SMOKE.preset.calibration.model_copy(update={"window_stride": 2})
    project = replanned(SMOKE, preset=SMOKE.preset.model_copy(update={"calibration": calibration}))
    build(project, run_id, learning_world.source, tmp_path, text=learning_world.text)
    assert (sent["layer"], sent["final_norm"]) == planned(project.run(run_id))
    assert passes_of(project.run(run_id))[-1].losses == tried


def test_a_merge_of_the_last_layers_is_scored_in_fewer(learning_world, tmp_path, sent, monkeypatch):
    """CoMe-P on 8 rows: of 6 layers, 4 once and the merged one 21 times; of 5 layers, 3 once."""
    measure = come.measure

    def last_is_least(calibration, operators):
        found = measure(calibration, operators)
        return replace(found, distance=[-float(first) for first in range(len(found.distance))])

    monkeypatch.setattr(come, "measure", last_is_least)
    run_id = "come-posterior-75"
    build(SMOKE, run_id, learning_world.source, tmp_path, text=learning_world.text)
    assert sent["layer"] == 32 * (6 + 5) + 8 * (4 + 21 + 3 + 21)
    assert planned(SMOKE.run(run_id))[0] == 32 * (6 + 5) + 8 * 21 * (5 + 4)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("depth", [22, 15])
def test_laco_tries_no_more_than_planned_whatever_it_finds(monkeypatch, depth, seed):
    large, draws, layers = SMOKE.source_shape().with_depth(30), Random(seed), []

    def final(_, operators) -> torch.Tensor:
        layers.append(operators.target.num_hidden_layers)
        return torch.zeros(1)

    monkeypatch.setattr(laco, "_final", final)
    monkeypatch.setattr(laco, "cosines", lambda *_: torch.tensor(draws.uniform(-1, 0.7)))
    run = replace(SMOKE.run("laco-75"), fused_shape=large, target_shape=large.with_depth(depth))
    text = SimpleNamespace(for_search=None)
    laco.build(BuildContext(SimpleNamespace(shape=large), run.target_shape, calibration=text))
    most = sum(p.layers for p in passes_of(run))
    assert 0.3 * most < sum(layers) <= most


def test_the_flop_of_one_pass_are_those_of_the_model_without_its_head():
    run = SMOKE.run("shortgpt-75")
    source, length = SMOKE.source_shape(), SMOKE.preset.text.sequence_length
    head = 2 * source.vocab_size * source.hidden_size
    assert building_flops(run) == 32 * length * (forward_flops(source, length) - head)
    assert building_flops(SMOKE.run("cut-75")) == 0


def test_candidates_share_the_layers_before_those_of_their_own():
    """Of 5 layers from 0, 2 and 3 on: 5, 3 and 2 layers, and the 3 before the last."""
    assert scored(7, 5, [0, 2, 3]) == Passes(7, 5 + 3 + 2 + 3, losses=3)
