"""The time of inference: what is timed, and the ratios that come out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import write_times as write_made_up_times

from lemon.architecture import LlamaShape
from lemon.configuration.project import TIMES, Project
from lemon.errors import BadInput
from lemon.evaluation import inference_time
from lemon.files.manifest import write_manifest
from lemon.reporting.facts.inference_times import inference_times

pytestmark = pytest.mark.slow

SMALL = LlamaShape(2, 16, 32, 2, 1, 8, 64, True)
SMALLER = LlamaShape(1, 16, 32, 2, 1, 8, 64, True)
PROMPT = 6


def test_a_line_for_each_shape_and_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that grows by a second at each look at the clock: 1 s a prompt, 1 s for 16 tokens."""
    clock = iter(range(10_000))
    monkeypatch.setattr(inference_time.time, "perf_counter", lambda: next(clock))
    out = tmp_path / TIMES
    inference_time.write_times([SMALL, SMALLER], PROMPT, "float32", "cpu", out)
    lines = pd.read_csv(out)
    assert list(lines["num_hidden_layers"]) == [2, 1] * inference_time.ROUNDS
    assert list(lines["round"]) == [n // 2 for n in range(2 * inference_time.ROUNDS)]
    assert set(lines["prompt_seconds"].round(6)) == {round(1 / PROMPT, 6)}
    assert set(lines["generation_seconds"]) == {1 / inference_time.GENERATED}


def test_tokens_are_generated_one_by_one_after_the_prompt() -> None:
    model = inference_time._random_model(SMALL, "float32", "cpu")
    seen = []
    model.register_forward_pre_hook(
        lambda _, given, named: seen.append(
            (
                given[0].shape[1],
                cache.get_seq_length() if (cache := named.get("past_key_values")) else 0,
            )
        ),
        with_kwargs=True,
    )
    list(inference_time._rounds([SMALL], [model], PROMPT, "cpu"))
    generated = [(1, PROMPT + place) for place in range(inference_time.GENERATED)]
    assert seen == [(PROMPT, 0), *generated] * (inference_time.ROUNDS + 1)


def test_ratios_are_of_one_round(laptop: Project, tmp_path: Path) -> None:
    """22 of 30 layers; the second round is twice as slow for both, so it changes no ratio."""
    project = laptop
    write_made_up_times(project, tmp_path)
    found = inference_times(project, tmp_path)
    assert set(vars(found[project.source_shape()]).values()) == {1}
    assert set(vars(found[project.shape_of("depth-75")]).values()) == {round(22 / 30, 6)}


def test_medians_and_quartiles(laptop: Project, tmp_path: Path) -> None:
    project, path = laptop, tmp_path / TIMES
    source, small = project.source_shape(), project.shape_of("depth-75")
    write_made_up_times(project, tmp_path)
    lines = pd.read_csv(path)
    others = lines[~lines["num_hidden_layers"].isin([30, 22])]
    measured = [
        {**shape.sizes(), "round": n, "prompt_seconds": seconds, "generation_seconds": 1.0}
        for n, factor in enumerate([0.5, 0.6, 0.7, 0.8, 9.0])
        for shape, seconds in ((source, 2.0), (small, 2.0 * factor))
    ]
    wide = lines[(lines["num_hidden_layers"] == 30) & (lines["hidden_size"] != 576)]
    pd.concat([pd.DataFrame(measured), others, wide]).to_csv(path, index=False)
    write_manifest(path.with_suffix(".manifest.json"), "time", files=[path], started=0.0)
    time = inference_times(project, tmp_path)[small]
    low, median, high = time.prompt_time_low, time.prompt_time_share, time.prompt_time_high
    assert (low, median, high) == pytest.approx((0.6, 0.7, 0.8))


def test_missing_and_other_shapes_are_named(laptop: Project, tmp_path: Path) -> None:
    project, path = laptop, tmp_path / TIMES
    with pytest.raises(BadInput, match="no such file; `lemon time"):
        inference_times(project, tmp_path)
    write_made_up_times(project, tmp_path)
    lines = pd.read_csv(path)
    lines[lines["num_hidden_layers"] != 15].to_csv(path, index=False)
    with pytest.raises(BadInput, match=TIMES):
        inference_times(project, tmp_path)
    write_manifest(path.with_suffix(".manifest.json"), "time", files=[path], started=0.0)
    with pytest.raises(BadInput, match="no time of 15 layers of hidden size 576; `lemon time"):
        inference_times(project, tmp_path)
