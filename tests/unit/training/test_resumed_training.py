"""Checkpoints of training, and runs that go on from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import Make, PlainTrainee, events
from killed import Cut, cut_after

from lemon.training.checkpoints import TrainingCheckpoints


@pytest.mark.parametrize("until", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pull", [None, 0.3], ids=["plain", "constrained"])
def test_a_run_cut_short_at_any_step_ends_as_the_whole_one(
    trainer: Make, until: int, pull: Any
) -> None:
    whole = trainer("whole", PlainTrainee(pull))
    whole.run()
    with cut_after(until), pytest.raises(Cut):
        trainer("cut", PlainTrainee(pull)).run()
    resumed = trainer("cut", PlainTrainee(pull))
    resumed.run()
    assert events(resumed) == events(whole)
    for group, other in zip(resumed.groups, whole.groups, strict=True):
        for name, parameter in group.parameters.items():
            assert torch.equal(parameter, other.parameters[name])
    steps = [one[0] for one in resumed.trainee.asked if one[0] != "tune"]
    assert min(steps) == (until - 1) // 2 * 2  # from the newest checkpoint on, and not again


def test_checkpoints_come_every_so_many_steps_and_at_the_end(trainer: Make) -> None:
    run = trainer()
    saved = []
    save = run.checkpoints.save
    run.checkpoints.save = lambda step, state: (saved.append(step), save(step, state))[1]
    run.run()
    assert saved == [2, 4, 5]
    folder = run.metrics_path.parent / "checkpoints"
    assert sorted(path.name[:13] for path in folder.iterdir()) == ["step-00000004", "step-00000005"]
    state = run.checkpoints.newest()
    assert list(state) == [
        *("key", "step", "parameters", "optimizer", "batches", "divergence", "wall_s", "events")
    ]
    assert list(state["parameters"]) == ["embedding", "head"]
    assert state["events"] == run.metrics_path.read_text()
    assert state["batches"] == {}
    # The optimiser's average of gradients is that of clipped ones.
    first = trainer("one", steps=1)
    first.run()
    averages = first.checkpoints.newest()["optimizer"]["state"].values()
    norm = math.sqrt(sum(one["exp_avg"].square().sum().item() for one in averages))
    assert norm == pytest.approx((1 - 0.8) * 0.05, rel=1e-4)


def test_a_checkpoint_whose_bytes_are_not_those_of_its_name_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even one that torch reads without an error."""
    store = TrainingCheckpoints(tmp_path, "k")
    _, newest = store.save(1, {"value": 1}), store.save(2, {"value": 2})
    torch.save({"key": "k", "step": 2, "value": 3}, newest)
    assert store.newest() == {"key": "k", "step": 1, "value": 1}
    assert "damaged (its sha256 is not the one in its name), removed" in capsys.readouterr().err
