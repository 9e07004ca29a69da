"""The gates' distribution against numbers worked by hand and against its own samples."""

import math

import pytest
import torch

from lemon.learning.hard_concrete import (
    LARGEST_LOG_ALPHA,
    deterministic,
    keep_probability,
    largest,
    sample,
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("log_alpha", "uniform", "expected"),
    [
        (0.0, 0.5, 0.5),  # s = 1/2; 0.5 * 1.2 - 0.1
        (0.0, 0.75, sigmoid(1.5 * math.log(3)) * 1.2 - 0.1),  # logit(0.75) = log 3
        (LARGEST_LOG_ALPHA, 0.5, 1.0),  # s = 0.999, stretched past 1
        (-LARGEST_LOG_ALPHA, 0.5, 0.0),
        (0.0, 0.0, 0.0),  # u is kept away from 0, where its logit is infinite
        (0.0, 1.0, 1.0),
    ],
)
def test_samples_worked_by_hand(log_alpha, uniform, expected):
    gate = sample(torch.tensor([log_alpha]), torch.tensor([uniform]))
    assert gate.item() == pytest.approx(expected, abs=1e-6)


def test_a_gate_starts_open_with_probability_0_998():
    start = keep_probability(torch.tensor(LARGEST_LOG_ALPHA)).item()
    # 1 - sigmoid(2/3 * log(1/11) - log 100)
    assert start == pytest.approx(1 - sigmoid(-2 / 3 * math.log(11) - math.log(100)), abs=1e-7)
    assert round(start, 3) == 0.998


@pytest.mark.parametrize("log_alpha", [-3.0, -0.5, 0.0, 1.5])
def test_the_keep_probability_is_the_share_of_samples_that_are_not_zero(log_alpha):
    uniform = (torch.arange(100_000) + 0.5) / 100_000
    gates = sample(torch.full_like(uniform, log_alpha), uniform)
    share = (gates > 0).float().mean().item()  # known to two of the 100,000 points
    assert keep_probability(torch.tensor(log_alpha)).item() == pytest.approx(share, abs=2e-5)


def test_a_clipped_gate_passes_no_gradient_and_an_open_one_does():
    log_alpha = torch.tensor([0.0, 4.0, -4.0], requires_grad=True)
    sample(log_alpha, torch.full((3,), 0.5)).sum().backward()
    # d z / d log_alpha = 1.2 s (1 - s) / beta at s = 1/2
    assert log_alpha.grad.tolist() == pytest.approx([1.2 * 0.25 * 1.5, 0.0, 0.0])


def test_the_deterministic_gate_keeps_the_largest_at_their_soft_value():
    log_alpha = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    gates = deterministic(log_alpha, 2)
    soft = [sigmoid(0.8 * value * 1.5) for value in (1.0, 3.0)]
    assert gates[0].tolist() == pytest.approx([soft[0], 0.0, soft[1], 0.0])
    assert (gates[1] > 0).tolist() == [True, False, False, True]  # of equals the first
    assert largest(log_alpha, 2).tolist() == [[0, 2], [0, 3]]
