"""The training loop against one written by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from bigram import (
    LENGTH,
    SEED,
    SETTINGS,
    STEPS,
    Bigram,
    Make,
    PlainTrainee,
    events,
    loss_of,
    values,
)
from torch import Tensor

from lemon.data.text.packing import PackedText
from lemon.errors import WorkFailed
from lemon.training.batches import Batches
from lemon.training.loop import rate_factor

EXACT = {"rtol": 1e-12, "atol": 1e-14}


def by_hand(text: PackedText, trainee: PlainTrainee) -> dict[str, list[float]]:
    """The same training, each step on its whole batch, in plain PyTorch."""
    batches = Batches(text, SEED)
    groups = [
        {"params": list(group.parameters.values()), "maximize": group.ascends}
        for group in trainee.groups
    ]
    betas = (SETTINGS.beta1, SETTINGS.beta2)
    optimizer = torch.optim.AdamW(groups, betas=betas, weight_decay=SETTINGS.weight_decay)
    logged: dict[str, list[float]] = {"loss": [], "norm": []}
    size = SETTINGS.batch_sequences
    for step in range(STEPS):
        optimizer.zero_grad()
        tokens = torch.from_numpy(batches.take(step * size, size))
        loss = loss_of(trainee.model, tokens)
        (loss if trainee.pull is None else loss + trainee.penalty()).backward()
        gradients = [p.grad for group in groups for p in group["params"]]
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
        for gradient in gradients:  # as torch clips, with its 1e-6
            gradient.mul_(min(1.0, SETTINGS.max_gradient_norm / (norm + 1e-6)))
        factor = rate_factor(step, STEPS, warmup_ratio=0.4, final_ratio=0.1)
        for group, ours in zip(optimizer.param_groups, trainee.groups, strict=True):
            group["lr"] = ours.rate * factor
        optimizer.step()
        logged["loss"].append(loss.item())
        logged["norm"].append(norm)
    return logged


@pytest.mark.parametrize("pull", [None, 0.3], ids=["plain", "constrained"])
def test_training_is_that_of_a_plain_loop(text: PackedText, trainer: Make, pull: Any) -> None:
    """Rows, mean over microbatches, constraint, clipping, schedule, rates and optimiser."""
    ours, theirs = PlainTrainee(pull), PlainTrainee(pull)
    run = trainer(trainee=ours)
    run.run()
    expected = by_hand(text, theirs)
    assert values(run, "train/loss") == pytest.approx(expected["loss"], rel=1e-12)
    assert values(run, "train/gradient_norm") == pytest.approx(expected["norm"], rel=1e-12)
    assert min(expected["norm"]) > SETTINGS.max_gradient_norm
    for group, other in zip(ours.groups, theirs.groups, strict=True):
        for name, parameter in group.parameters.items():
            torch.testing.assert_close(parameter, other.parameters[name], **EXACT)
    if pull is not None:
        assert values(run, "step") == list(range(STEPS))


def test_a_microbatch_is_told_its_step_and_number_and_each_loss_is_a_mean(trainer: Make) -> None:
    run = trainer()
    run.run()
    asked = [one for one in run.trainee.asked if one[0] != "tune"]
    shape = (2, LENGTH + 1)
    assert asked == [(step, part, shape) for step in range(STEPS) for part in range(3)]
    first = PlainTrainee()
    rows = torch.from_numpy(run.batches.take(0, 6))
    squares = [loss_of(first.model, part).item() ** 2 for part in rows.split(2)]
    assert values(run, "train/squared")[0] == pytest.approx(sum(squares) / 3, rel=1e-12)


def test_what_is_logged_when(trainer: Make) -> None:
    run = trainer()
    run.run()
    step = ["loss", "squared", "gradient_norm", "rate_embedding", "rate_head"]
    every = [f"train/{name}" for name in step]
    heldout = ["tune/loss/prose", "tune/loss/code", "tune/perplexity"]
    expected = {0: heldout, 1: every, 2: every, 3: every + heldout, 4: every, 5: every + heldout}
    found: dict[int, list[str]] = {}
    for at, tokens, name, _ in events(run):
        found.setdefault(at, []).append(name)
        assert tokens == at * 6 * LENGTH
    assert found == expected
    factors = [rate_factor(at, STEPS, warmup_ratio=0.4, final_ratio=0.1) for at in range(STEPS)]
    assert values(run, "train/rate_head") == [0.05 * factor for factor in factors]


def test_the_heldout_losses_are_means_over_the_first_sequences(
    text: PackedText, trainer: Make
) -> None:
    """Five rows of prose in passes of 2, 2 and 1, and all three of code."""
    run = trainer()
    start = Bigram()
    run.run()
    losses = {}
    for domain, count in (("prose", 5), ("code", 3)):
        rows = np.stack([text.sequence("tune", domain, row) for row in range(count)])
        losses[domain] = loss_of(start, torch.from_numpy(rows)).item()
        found = values(run, f"tune/loss/{domain}")[0]
        assert found == pytest.approx(losses[domain], rel=1e-12)
    mean = 0.75 * losses["prose"] + 0.25 * losses["code"]
    assert values(run, "tune/perplexity")[0] == pytest.approx(math.exp(mean), rel=1e-12)
    passes = [one[1:] for one in run.trainee.asked if one[0] == "tune"]
    assert passes[:5] == [(True, 2), (True, 2), (True, 1), (True, 2), (True, 1)]


def test_a_gradient_below_the_limit_is_not_scaled(trainer: Make) -> None:
    settings = SETTINGS.model_copy(update={"max_gradient_norm": 100.0})
    run = trainer(settings=settings, steps=1)
    run.run()
    averages = run.checkpoints.newest()["optimizer"]["state"].values()
    norm = math.sqrt(sum(one["exp_avg"].square().sum().item() for one in averages))
    assert norm == pytest.approx(0.2 * values(run, "train/gradient_norm")[0], rel=1e-12)


def test_losses_that_are_not_finite_stop_the_run_at_their_step(trainer: Make) -> None:
    run = trainer()
    losses = run.trainee.losses

    def broken(tokens: Tensor, step: int, part: int) -> dict[str, Tensor]:
        found = losses(tokens, step, part)
        return {**found, "loss": found["loss"] * math.inf} if (step, part) == (3, 2) else found

    run.trainee.losses = broken
    with pytest.raises(WorkFailed, match="tiny: diverged at step 4 of 5: the loss is inf") as told:
        run.run()
    assert "Lower x.embedding or x.head of the preset" in str(told.value)
    assert "step-00000002-" in str(told.value)
