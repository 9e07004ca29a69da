"""Damage to what a stage can make again: found, said, and made again to the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import forget_digests, places
from killed import Cut
from learning_world import LearningWorld
from task_rows import write_mirror

from lemon.evaluation.harness import evaluate
from lemon.evaluation.outcomes import read_sealed
from lemon.files.manifest import MANIFEST, checked_file, read_manifest
from lemon.learning.run import learn
from lemon.training.checkpoints import TrainingCheckpoints

RUN = "lemon-cut-75"


@pytest.fixture
def evaluated(learning_world: LearningWorld, tmp_path: Path) -> Callable[[], list[Any]]:
    """Evaluates the source into `outcomes`, or goes on with what is there; gives what is read."""
    rows = write_mirror(tmp_path / "rows", {"piqa": 6})
    source, text = learning_world.source, learning_world.text
    settings = {"dtype": "float32", "batch_size": 4, "heldout": text, "heldout_sequences": 2}

    def run() -> list[Any]:
        forget_digests()
        evaluate(source, ["piqa"], str(rows), None, tmp_path / "outcomes", **settings)
        outcomes, _ = read_sealed(checked_file(tmp_path / "outcomes" / "piqa.parquet"))
        perplexity = checked_file(tmp_path / "outcomes" / "perplexity.json").read_text()
        return [outcomes, perplexity, read_manifest(tmp_path / "outcomes" / MANIFEST)["tasks"]]

    return run


@pytest.mark.parametrize("name", ["piqa.parquet", "perplexity.json", "manifest.json"])
def test_a_second_evaluation_mends_what_is_damaged(
    name: str, evaluated: Callable[[], list[Any]], tmp_path: Path
) -> None:
    path, sound = tmp_path / "outcomes" / name, evaluated()
    for place in places(path, 2)[::12]:
        damaged = bytearray(path.read_bytes())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert evaluated() == sound


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_run_goes_on_from_the_last_sound_checkpoint_to_the_same_end(
    damaged: int,
    learning_world: LearningWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With all of them damaged it starts anew."""
    project = learning_world.project(steps=6, checkpoint_every=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn(project, RUN, learning_world.source, learning_world.text, whole)

    def fail_at_the_end(self: TrainingCheckpoints, step: int, state: dict[str, Any]) -> Path:
        if step == 6:
            raise Cut
        return save(self, step, state)

    save = TrainingCheckpoints.save
    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(TrainingCheckpoints, "save", fail_at_the_end)
        learn(project, RUN, learning_world.source, learning_world.text, cut)
    kept = sorted((cut / "checkpoints").glob("*.pt"))
    assert len(kept) == 2
    for path in kept[-damaged:]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1  # in the middle of a tensor, where torch would not see it
        path.write_bytes(content)
    capsys.readouterr()
    learn(project, RUN, learning_world.source, learning_world.text, cut)
    told = capsys.readouterr()
    assert told.err.count("damaged (its sha256 is not the one in its name), removed") == damaged
    assert ("goes on after step 2 of 6" in told.out) == (damaged == 1)
    name = "operators.safetensors"
    assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_every_bit_of_a_checkpoint_counts(tmp_path: Path, capsys: Any) -> None:
    store = TrainingCheckpoints(tmp_path, key="k")
    first = store.save(1, {"parameters": torch.zeros(3)})
    last = store.save(2, {"parameters": torch.ones(3)})
    sound = {path: path.read_bytes() for path in (first, last)}
    for place in places(last, 60):
        for path, content in sound.items():
            path.write_bytes(content)
        content = bytearray(sound[last])
        content[place] ^= 1 << place % 8
        last.write_bytes(content)
        state = store.newest()
        assert state is not None and state["step"] == 1, place
        assert f"{last}: damaged" in capsys.readouterr().err
