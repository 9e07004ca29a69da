"""Perplexity from losses in nats per token: exp(loss); of a mixture exp(sum_d w_d loss_d)."""

from __future__ import annotations

import math
from collections.abc import Mapping


def perplexity_of(loss: float) -> float:
    """exp(loss), or infinity if that is too large for a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def mixture_loss(losses: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The mean loss over text drawn from the mixture.

    Args:
        losses: by domain, in nats per token.
        weights: share of each domain; they sum to one.
    """
    return sum(weights[domain] * loss for domain, loss in losses.items())
