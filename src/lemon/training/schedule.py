"""The learning-rate schedule: linear warm-up, then a cosine to a floor."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, *, warmup_ratio: float, final_ratio: float) -> float:
    """The share of the peak rate at a step.

    The first `ceil(warmup_ratio * steps)` steps rise linearly and reach the peak at their last
    step; a cosine then falls to `final_ratio` at step `steps - 1`.

    Args:
        step: from 0.
        steps: of the whole run.
        warmup_ratio: share of the steps that warm up.
        final_ratio: share of the peak at the end.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    span = max(1, steps - 1 - warmup)
    progress = min(1.0, (step - warmup) / span)
    return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
