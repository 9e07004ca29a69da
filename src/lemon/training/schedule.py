"""The learning-rate schedule: linear warm-up, then cosine decay to a floor."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, *, warmup_ratio: float, final_ratio: float) -> float:
    """The learning rate of a step as a share of the peak.

    It rises linearly over the first `ceil(warmup_ratio * steps)` steps and is 1 at the last of
    them. A cosine then falls to `final_ratio` at step `steps - 1`.

    Args:
        step: from 0.
        steps: steps of the whole run.
        warmup_ratio: share of the steps used for warm-up.
        final_ratio: share of the peak at the end.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    span = max(1, steps - 1 - warmup)
    progress = min(1.0, (step - warmup) / span)
    return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
