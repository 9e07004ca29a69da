"""How far a computed number may be from the exact one, by its number format and its sums.

A sum of n products is rounded at most n times, in whatever order and by whatever instructions, each
time by at most u of what has been added up. Rounding errors are nearly independent and even over
+-u, so that their sum has a standard deviation of u / sqrt(3) * sqrt(sum_k (k / n)^2), which is
sqrt(n) u / 3, of the sum of the absolute terms where these are alike. Six of them are allowed. For
up to four terms that is no less than n u, beyond which no order can get (Higham and Mary 2019).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53  # u, half the distance from 1 to the next number
# The log-likelihood of an answer: of 90 tokens it is near -500, which as a float32 sum is off by up
# to `sum_off(90)` of itself, 6e-4; its terms are off by some 1e-5 each.
LOG_LIKELIHOOD_OFF = 1e-3


def sum_off(terms: int, u: float = FLOAT32) -> float:
    """Error of a sum of products, in units of the sum of their absolute values."""
    return 2 * terms**0.5 * u


def log_probabilities_off(hidden: torch.Tensor, head: torch.Tensor) -> float:
    """How far float32 log-probabilities, of logits `hidden @ head.T`, may be from exact ones.

    A logit is off by its own sum, and the logarithm of the sum of exponentials by as much again.
    That logarithm, two differences and an exponential are rounded at values of up to twice the
    largest logit.
    """
    largest = (hidden.detach().abs() @ head.detach().abs().T).max().item()
    return (2 * sum_off(hidden.shape[1]) + 8 * FLOAT32) * largest + 2 * sum_off(len(head))


def logits_off(model: Any, tokens: torch.Tensor) -> float:
    """How far apart two float32 computations of a model's logits may be.

    Rounding acts as if every weight were another by some relative error of `sum_off`. What such
    errors do is measured with larger ones, still small enough to act in proportion.
    """
    step = 2.0**-12
    moved, generator = deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in moved.parameters():
            signs = torch.randint(2, parameter.shape, generator=generator) * 2 - 1
            parameter *= 1 + step * signs
        change = (moved(tokens).logits - model(tokens).logits).abs().max().item()
    longest = max(parameter.shape[-1] for parameter in model.parameters())
    return 2 * sum_off(longest) / step * change
