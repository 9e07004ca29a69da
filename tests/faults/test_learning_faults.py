"""Learning that is killed, or whose loss is no number."""

import time

import pytest
import torch
from logged import logged
from ranks import FORKS, train_alone

from lemon.errors import WorkFailed
from lemon.events import read_events
from lemon.learning.run import learn
from lemon.training.checkpoints import TrainingCheckpoints

RUN = "lemon-cut-75"
OFTEN = {"steps": 30, "checkpoint_every": 3}


def kill_after(world, run, out, step):
    """Learn in a process of its own, and SIGKILL it once it has taken `step` steps."""
    process = FORKS.Process(target=train_alone, args=(world, run, out), kwargs=OFTEN)
    process.start()
    deadline = time.monotonic() + 120
    while not any(event["step"] >= step for event in read_events(out / "metrics.jsonl")):
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        *(RUN, "lemon-cut-trained-75", "cut-tuned-75", "shear-75", "lemon-width-2-2"),
        "scratch-width",
    ],
)
def test_killed_and_resumed_learning_ends_bit_identical(learning_world, tmp_path, run, capsys):
    killed = tmp_path / "killed"
    whole = train_alone(learning_world, run, tmp_path / "whole", **OFTEN)
    kill_after(learning_world, run, killed, step=8)
    assert not (killed / "manifest.json").exists()
    capsys.readouterr()
    train_alone(learning_world, run, killed, **OFTEN)
    assert "goes on after step" in capsys.readouterr().out
    models = ("trained_source", "model", "snapshots/256/model")
    weights = [f"{model}/model.safetensors" for model in models]
    for name in ("operators.safetensors", "masks.csv", *weights):
        assert (whole / name).exists() == (killed / name).exists()
        if (whole / name).exists():
            assert (whole / name).read_bytes() == (killed / name).read_bytes()

    # These hold the mixture of every step as well, and under masks the multipliers and sparsities.
    assert logged(whole) == logged(killed)


def test_a_loss_that_is_no_number_stops_at_its_step(learning_world, tmp_path, monkeypatch):
    from lemon.learning import trainee

    real = trainee.distillation_loss
    calls = []

    def broken(*arguments, **options):
        calls.append(None)
        losses = real(*arguments, **options)
        return losses._replace(total=losses.total * float("nan")) if len(calls) > 10 else losses

    monkeypatch.setattr(trainee, "distillation_loss", broken)
    # Two microbatches a step: call 11 is the first half of step 6.
    project = learning_world.project(steps=20, checkpoint_every=2)
    with pytest.raises(WorkFailed, match="step 6 of 20: the loss is nan") as failure:
        learn(project, RUN, learning_world.source, learning_world.text, tmp_path / "run")
    kept = TrainingCheckpoints(tmp_path / "run/checkpoints", key="").newest_path()
    assert kept.name.startswith("step-00000004-")
    assert str(kept) in str(failure.value)
    state = torch.load(kept, weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["parameters"].values())


def test_checkpoints_of_other_settings_are_not_continued(tmp_path):
    TrainingCheckpoints(tmp_path, key="one").save(5, {})
    assert TrainingCheckpoints(tmp_path, key="other").newest() is None
