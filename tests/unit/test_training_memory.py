"""Memory that is found without values, against what the same training really takes."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
import torch
from learning_world import LearningWorld
from ranks import train_alone
from torch.profiler import ProfilerActivity, profile

from lemon.checkpoint import Checkpoint
from lemon.memory.live_bytes import LiveBytes, fake_tensors
from lemon.memory.training import training_memory

NUMBERS = 1024  # of float32, 4096 bytes
OF_NUMBERS = 4 * NUMBERS
STARTED_BY_METHODS = ("lemon-cut-75", "cut-tuned-75", "lemon-cut-trained-75", "cut-tuned-width")
OTHERS = ("lemon-width-2-2", "shear-75", "shear-small", "scratch-width", "scratch-small")


def test_what_the_backward_pass_needs_counts_until_it_is_over() -> None:
    with LiveBytes() as live:
        x = torch.ones(NUMBERS, requires_grad=True)
        assert live.now == OF_NUMBERS
        y = x.exp()  # keeps its result for the backward pass
        z = y * 2
        z[10:].view(2, -1)  # views own nothing
        assert live.now == 3 * OF_NUMBERS
        del y
        assert live.now == 3 * OF_NUMBERS
        z.backward(torch.ones_like(z))
        assert live.peak >= 5 * OF_NUMBERS  # x, y, z, and the gradients of z and y
        del z
        assert x.grad is not None
        assert live.now == 2 * OF_NUMBERS  # x and its gradient


def test_fake_tensors_take_nothing_and_count_as_much() -> None:
    with fake_tensors() as live:
        weight = torch.nn.Parameter(torch.empty(2**20, 2**20))  # 4 TB
        weight.exp().sum().backward()  # the result is kept, and multiplied with the gradient
        assert weight.grad is not None and weight.grad.sum().item() == 0.5
    assert live.now == 2 * 4 * 2**40  # the weight and its gradient
    assert live.peak == pytest.approx(3 * 4 * 2**40)


@pytest.mark.slow
@pytest.mark.parametrize("run", STARTED_BY_METHODS + OTHERS)
def test_the_peak_is_that_of_the_training_that_runs(
    run: str, learning_world: LearningWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lemon learn` and `lemon pretrain` for two steps, measured by torch's allocator.

    It does not see what lies in the bytes of a file, so that is copied.
    """
    read = Checkpoint.tensor
    monkeypatch.setattr(Checkpoint, "tensor", lambda *named: read(*named).clone())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        train_alone(learning_world, run, tmp_path / run, steps=20, stop=2)
    events = profiled.profiler.kineto_results.events()
    memory = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    changes = [event.nbytes() for event in memory]
    measured = max(accumulate(changes))
    found = training_memory(learning_world.project(20), learning_world.project(20).run(run), 1)
    assert found.peak == pytest.approx(measured, rel=0.1)
    assert found.held < found.peak
