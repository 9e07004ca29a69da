"""Put the neurons, or the heads, of one layer into the order of those of another.

Verma, Murray and Duh 2025 (arXiv 2501.06126), section 3: the features of two layers on the same
tokens are correlated, and the permutation with the largest sum of correlations of matched pairs is
taken.

    C[p, q] = mean_t (x[t, p] - mean) (y[t, q] - mean) / max(sd_x[p] sd_y[q], 1e-7)

Moments are over the tokens, in two passes of float32. Shapes: T tokens, N features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lemon.errors import BadInput
from lemon.operators.factor import OneHot

SMALLEST = 1e-7  # of a product of standard deviations, so that a constant feature matches nothing


@dataclass(frozen=True)
class Features:
    """The features of one layer on some text, and their moments over the tokens.

    Attributes:
        values_TN: the features, in any number format.
        mean_N, deviation_N: float32.
    """

    values_TN: Tensor
    mean_N: Tensor
    deviation_N: Tensor

    @classmethod
    def of(cls, values_TN: Tensor, where: str) -> Features:
        """`where` is for messages.

        BadInput if a feature is not finite, or there are fewer than two tokens.
        """
        if len(values_TN) < 2:
            raise BadInput(f"{where}: a correlation needs at least two tokens of text")
        values = values_TN.float()
        if not values.isfinite().all():
            feature = int((~values.isfinite()).any(0).nonzero()[0])
            raise BadInput(f"{where}: feature {feature} is not finite on the text")
        mean = values.mean(0)
        return cls(values_TN, mean, (values - mean).square().mean(0).sqrt())

    @property
    def centred(self) -> Tensor:
        """The features less their means, [T, N] float32."""
        return self.values_TN.float() - self.mean_N


def correlation(anchor: Features, other: Features) -> Tensor:
    """C of the formula, [N, N] float32, rows for the anchor's features."""
    spread = torch.outer(anchor.deviation_N, other.deviation_N)
    products = anchor.centred.T @ other.centred
    return (products / len(anchor.values_TN)) / spread.clamp(min=SMALLEST)


def paired_correlation(anchor: Features, other: Features) -> Tensor:
    """C[p, p] alone, [N] float32."""
    spread = anchor.deviation_N * other.deviation_N
    return (anchor.centred * other.centred).mean(0) / spread.clamp(min=SMALLEST)


def matched(scores: Tensor) -> OneHot:
    """The permutation that brings feature q to the place p of its match, from scores [p, q]."""
    rows, columns = linear_sum_assignment(scores.double().numpy(), maximize=True)
    assert (rows == range(len(scores))).all()
    return OneHot(torch.from_numpy(columns).long(), len(scores))
