"""Learning that is killed, cut off by the disk, or that diverges."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lemon.errors import WorkFailed
from lemon.events import read_events
from lemon.files.storage import atomic_file
from lemon.learning.run import learn
from lemon.training import checkpoints
from lemon.training.checkpoints import TrainingCheckpoints

RUN = "lemon-cut-75"
LEARN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from learning_world import LearningWorld
from replanned import replanned
from lemon.learning.run import learn
from lemon.pretraining.run import pretrain
world = LearningWorld(Path(sys.argv[2]), Path(sys.argv[3]))
project = world.project(steps=int(sys.argv[5]), checkpoint_every=3)
often = project.preset.pretraining.model_copy(update={"checkpoint_every": 3})
project = replanned(project, preset=project.preset.model_copy(update={"pretraining": often}))
read = (project, sys.argv[6], world.source, world.text, Path(sys.argv[4]))
if project.run(sys.argv[6]).method.pretrains:
    pretrain(*read, world.source)
else:
    learn(*read)
"""
TESTS = str(Path(__file__).parents[1])


def learn_command(world, out, steps, run=RUN):
    arguments = [TESTS, str(world.source), str(world.text), str(out), str(steps), run]
    return [sys.executable, "-c", LEARN, *arguments]


def kill_after(command, out, step):
    """Start the command, and SIGKILL it once it has taken `step` steps."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(event["step"] >= step for event in read_events(out / "metrics.jsonl")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        *(RUN, "lemon-cut-trained-75", "cut-tuned-75", "shear-75", "lemon-width-2-2"),
        "scratch-width",
    ],
)
def test_killed_and_resumed_learning_ends_bit_identical(learning_world, tmp_path, run):
    steps = 30
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(learn_command(learning_world, whole, steps, run), check=True)
    kill_after(learn_command(learning_world, killed, steps, run), killed, step=8)
    assert not (killed / "manifest.json").exists()
    resumed = subprocess.run(
        learn_command(learning_world, killed, steps, run),
        check=True,
        capture_output=True,
        text=True,
    )
    assert "goes on after step" in resumed.stdout
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
