"""The hard-concrete distribution: differentiable gates that are often exactly 0 or 1.

Louizos et al. (2018), with the constants of Sheared-LLaMA (Xia et al. 2023). A uniform u gives

    s = sigmoid((logit(u) + log_alpha) / beta),    z = clip(s * (1.1 + 0.1) - 0.1, 0, 1).

All functions are elementwise, in float32, on tensors of any shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETA = 2.0 / 3.0
LOW, HIGH = -0.1, 1.1  # s is stretched to this interval before clipping
EPSILON = 1e-6  # u and the keep probability are clamped to [EPSILON, 1 - EPSILON]
LARGEST_LOG_ALPHA = math.log(100.0)  # log alpha is clamped to +- this
DETERMINISTIC_SCALE = 0.8  # of log alpha in the deterministic gate


def sample(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1] from uniform numbers of the same shape; differentiable in log alpha."""
    u = uniform.clamp(EPSILON, 1.0 - EPSILON)
    s = torch.sigmoid((torch.logit(u) + log_alpha) / BETA)
    return (s * (HIGH - LOW) + LOW).clamp(0.0, 1.0)


def keep_probability(log_alpha: Tensor) -> Tensor:
    """The probability that a gate is not 0; differentiable."""
    threshold = BETA * math.log(-LOW / HIGH)
    return (1.0 - torch.sigmoid(threshold - log_alpha)).clamp(EPSILON, 1.0 - EPSILON)


def deterministic(log_alpha: Tensor, num_kept: int) -> Tensor:
    """Deterministic gates: the `num_kept` largest entries of the last axis keep their soft value.

    The others are 0. Of equal entries the first are kept.
    """
    soft = torch.sigmoid(DETERMINISTIC_SCALE * log_alpha / BETA)
    gates = torch.zeros_like(soft)
    kept = largest(log_alpha, num_kept)
    return gates.scatter(-1, kept, soft.gather(-1, kept))


def largest(log_alpha: Tensor, num_kept: int) -> Tensor:
    """The indices of the `num_kept` largest entries of the last axis, ascending."""
    order = torch.argsort(log_alpha, dim=-1, descending=True, stable=True)
    return order[..., :num_kept].sort(dim=-1).values
