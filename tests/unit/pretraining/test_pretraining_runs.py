"""Runs of pre-training: interrupted, kept on the way, finished, and refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from killed import Cut
from logged import logged
from pretraining_world import CONTINUED, SCRATCH, pretraining_project
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, Diverged
from lemon.pretraining.run import pretrain
from lemon.training.loop import Trainer


@pytest.mark.slow
@pytest.mark.parametrize("run_id", [SCRATCH, CONTINUED])
def test_interrupted_three_times_it_ends_bit_identical(
    learning_world, small_model, tmp_path, monkeypatch, run_id
):
    source = learning_world.source if run_id == SCRATCH else small_model
    steered = {"loading": {"update_every": 3}, "snapshots": (512, 1024)}
    project = pretraining_project(learning_world, 14, checkpoint_every=2, **steered)
    arguments = (project, run_id, source, learning_world.text)
    pretrain(*arguments, tmp_path / "whole", learning_world.source)
    whole_step, taken = Trainer.take_step, []

    def step(trainer: Trainer, number: int) -> dict[str, float]:
        if number in (3, 7, 12) and number not in taken:
            taken.append(number)
            raise Cut
        return whole_step(trainer, number)

    monkeypatch.setattr(Trainer, "take_step", step)
    for _ in range(3):
        with pytest.raises(Cut):
            pretrain(*arguments, tmp_path / "cut", learning_world.source)
        assert not (tmp_path / "cut" / "manifest.json").exists()
    pretrain(*arguments, tmp_path / "cut", learning_world.source)
    assert taken == [3, 7, 12]
    for name in ("model", "snapshots/512/model", "snapshots/1024/model"):
        files = [tmp_path / which / name / "model.safetensors" for which in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert logged(tmp_path / "whole") == logged(tmp_path / "cut")
    assert any(name.startswith("mixture/") for _, name, _ in logged(tmp_path / "cut"))
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_a_snapshot_is_the_model_after_its_tokens(learning_world, tmp_path):
    # 4 sequences of 32 tokens a step: 200 tokens are reached in the second step.
    out = tmp_path / "run"
    project = pretraining_project(learning_world, 4, snapshots=(200, 512, 10**9), evaluate_every=1)
    assert project.run(SCRATCH).snapshots == {2: 200}  # 512 tokens are the whole run
    pretrain(project, SCRATCH, learning_world.source, learning_world.text, out)
    assert sorted(path.name for path in (out / "snapshots").iterdir()) == ["200"]
    model = LlamaForCausalLM.from_pretrained(out / "snapshots/200/model", dtype=torch.float32)
    text = PackedText(learning_world.text, ("tune",))
    rows = torch.from_numpy(np.stack([text.sequence("tune", "prose", n) for n in range(2)]))
    with torch.no_grad():
        loss = model(rows, labels=rows).loss.item()
    by_step = {step: value for step, name, value in logged(out) if name == "tune/loss/prose"}
    assert loss == pytest.approx(by_step[2], abs=1e-5)
    assert abs(by_step[2] - by_step[3]) > 1e-4


def test_a_finished_run_is_not_trained_again(learning_world, tmp_path, monkeypatch):
    project, out = pretraining_project(learning_world, 2, snapshots=(128,)), tmp_path / "run"
    arguments = (project, SCRATCH, learning_world.source, learning_world.text, out)
    pretrain(*arguments)
    weights = Checkpoint(out / "model").digest()
    monkeypatch.setattr(Trainer, "run", lambda _: pytest.fail("it trained again"))
    pretrain(*arguments)
    assert Checkpoint(out / "model").digest() == weights
    (out / "snapshots/128/model/model.safetensors").unlink()
    with pytest.raises(pytest.fail.Exception):
        pretrain(*arguments)


def test_what_it_can_not_train_is_refused(learning_world, small_model, tmp_path):
    world, steered = (
        learning_world,
        pretraining_project(learning_world, loading={"update_every": 3}),
    )
    plain = pretraining_project(learning_world)
    with pytest.raises(BadInput, match="needs a reference model"):
        pretrain(steered, SCRATCH, world.source, world.text, tmp_path / "run")
    with pytest.raises(BadInput, match="does not pre-train"):
        pretrain(plain, "lemon-cut-75", world.source, world.text, tmp_path / "run")
    with pytest.raises(BadInput, match="hidden_size"):
        pretrain(plain, CONTINUED, world.source, world.text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rate_that_is_too_high_ends_with_the_setting_to_lower(learning_world, tmp_path):
    project = pretraining_project(
        learning_world, 60, weight_rate=900.0, warmup_ratio=0.0, checkpoint_every=1
    )
    with pytest.raises(Diverged, match=r"Lower pretraining\.weight_rate"):
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, tmp_path / "run")
    assert not (tmp_path / "run/manifest.json").exists()
