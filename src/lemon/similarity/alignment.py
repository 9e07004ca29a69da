"""Put the neurons, or the heads, of one layer into the order of those of another.

Verma, Murray and Duh 2025 (arXiv 2501.06126), section 3: the features of two layers on the same
tokens are correlated, and the permutation with the largest sum of correlations of matched pairs is
taken.

    C[p, q] = mean_t (x[t, p] - mean) (y[t, q] - mean) / max(sd_x[p] sd_y[q], 1e-7)

Moments are over the tokens, in two passes of float32. Shapes: T tokens, N features.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lemon.errors import BadInput
from lemon.operators.factor import OneHot

SMALLEST = 1e-7  # of a product of standard deviations, so that a constant feature matches nothing


def correlation(anchor_TN: Tensor, other_TN: Tensor, where: str) -> Tensor:
    """C of the formula, [N, N] float32, rows for the anchor's features; `where` is for messages.

    BadInput if a feature is not finite, or there are fewer than two tokens.
    """
    anchor, other = _centred(anchor_TN, where), _centred(other_TN, where)
    spread = torch.outer(*(x.square().mean(0).sqrt() for x in (anchor, other)))
    return (anchor.T @ other / len(anchor)) / spread.clamp(min=SMALLEST)


def paired_correlation(anchor_TN: Tensor, other_TN: Tensor, where: str) -> Tensor:
    """C[p, p] alone, [N] float32; arguments and errors as of `correlation`."""
    anchor, other = _centred(anchor_TN, where), _centred(other_TN, where)
    spread = anchor.square().mean(0).sqrt() * other.square().mean(0).sqrt()
    return (anchor * other).mean(0) / spread.clamp(min=SMALLEST)


def matched(scores: Tensor) -> OneHot:
    """The permutation that brings feature q to the place p of its match, from scores [p, q]."""
    rows, columns = linear_sum_assignment(scores.double().numpy(), maximize=True)
    assert (rows == range(len(scores))).all()
    return OneHot(torch.from_numpy(columns).long(), len(scores))


def _centred(features_TN: Tensor, where: str) -> Tensor:
    if len(features_TN) < 2:
        raise BadInput(f"{where}: a correlation needs at least two tokens of text")
    features = features_TN.float()
    if not features.isfinite().all():
        feature = int((~features.isfinite()).any(0).nonzero()[0])
        raise BadInput(f"{where}: feature {feature} is not finite on the text")
    return features - features.mean(0)
