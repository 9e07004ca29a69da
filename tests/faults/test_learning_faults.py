"""Learning that is killed, cut off by the disk, or that diverges."""

import errno
import time

import pytest
import torch
from ranks import FORKS, train_alone

from lemon.errors import WorkFailed
from lemon.events import read_events
from lemon.files.storage import atomic_file
from lemon.learning.run import learn
from lemon.training import checkpoints
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
    def without_times(out):
        events = read_events(out / "metrics.jsonl")
        return [
            (event["step"], event["name"], event["value"])
            for event in events
            if event["name"] != "train/tokens_per_s"
        ]

    assert without_times(whole) == without_times(killed)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(learning_world, tmp_path):
    project = learning_world.project(
        steps=40, layer_rate=1000.0, norm_rate=1000.0, warmup_ratio=0.9, checkpoint_every=1
    )
    with pytest.raises(WorkFailed, match="diverged at step") as failure:
        learn(project, RUN, learning_world.source, learning_world.text, tmp_path / "run")
    assert "layer_rate" in str(failure.value)
    assert not (tmp_path / "run" / "manifest.json").exists()
    kept = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))
    if kept:
        assert str(kept[-1]) in str(failure.value)
        state = torch.load(kept[-1], weights_only=True)
        assert all(torch.isfinite(value).all() for value in state["parameters"].values())
    else:
        assert "no checkpoint was written yet" in str(failure.value)


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


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capsys):
    store = TrainingCheckpoints(tmp_path, key="k")
    for step in (1, 2, 3):
        store.save(step, {"parameters": torch.full((3,), float(step))})
    newest = store.newest_path()
    newest.write_bytes(newest.read_bytes()[:100])
    assert store.newest()["step"] == 2
    assert "damaged" in capsys.readouterr().err


def test_checkpoints_of_other_settings_are_not_continued(tmp_path):
    TrainingCheckpoints(tmp_path, key="one").save(5, {})
    assert TrainingCheckpoints(tmp_path, key="other").newest() is None


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    store = TrainingCheckpoints(tmp_path, key="k")
    first = store.save(1, {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(WorkFailed, match="disk is full"):
        store.save(2, {})
    assert list(tmp_path.iterdir()) == [first]
    assert store.newest()["step"] == 1


def test_atomic_file_leaves_nothing_behind_on_failure(tmp_path):
    with pytest.raises(ValueError), atomic_file(tmp_path / "out") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []
