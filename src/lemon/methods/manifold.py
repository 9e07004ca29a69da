"""How alike two layers are: the information that low-dimensional maps of their outputs share.

Liu et al. 2024 (arXiv 2406.16330), section 3, with the constants and estimators of their public
code. The outputs of a layer on the same N tokens become points of a diffusion map:

    K[s, t] = exp(-sqrt(|x_s - x_t| / SCALE))      p = row sums of K
    A = K / sqrt(p p^T)   then   A = A / (v v^T),  v = sqrt(row sums of A)

v is the eigenvector of A of eigenvalue 1. The coordinates are the next `DIMENSIONS` eigenvectors,
divided by v, each replaced by its ranks, 0 to N - 1. The similarity of two maps is

    S = I / sqrt(H_1 H_2)

I is the mean mutual information of a coordinate of one and a coordinate of the other, in nats, by
Kraskov, Stoegbauer and Grassberger 2004 (estimator 1), H an entropy by distances to neighbours.

Shapes: N tokens, D hidden size, M dimensions of a map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = 8.0
DIMENSIONS = 2
INFORMATION_NEIGHBOURS = 5
ENTROPY_NEIGHBOURS = 50


def diffusion_map(outputs_ND: Tensor) -> Tensor:
    """The coordinates of the tokens as ranks, whole numbers [N, M] float64."""
    points = outputs_ND.double()
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (-(distance / SCALE).sqrt()).exp()
    total = kernel.sum(0)
    kernel = kernel / torch.outer(total, total).sqrt()
    first = kernel.sum(0).sqrt()
    markov = kernel / torch.outer(first, first)
    # Without the known eigenvector, the largest eigenvalues are those of the coordinates.
    _, vectors = torch.linalg.eigh(markov - torch.outer(first, first) / first.square().sum())
    coordinates = vectors[:, -DIMENSIONS:].flip(1) / first[:, None]
    return coordinates.argsort(dim=0, stable=True).argsort(dim=0).double()


def similarity(one_NM: Tensor, other_NM: Tensor) -> float:
    """S of the formulas above, at least 0. Both maps need more than `ENTROPY_NEIGHBOURS` tokens."""
    pairs = [(x, y) for x in one_NM.T for y in other_NM.T]
    shared = sum(mutual_information(x, y) for x, y in pairs) / len(pairs)
    # Of ranks, both entropies are negative: nothing in the unit square has more than its 0.
    entropies = [entropy(ranks / len(ranks)) for ranks in (one_NM, other_NM)]
    return shared / math.sqrt(abs(math.prod(entropies)))


def mutual_information(x_N: Tensor, y_N: Tensor) -> float:
    """The mutual information of two variables in nats, by nearest neighbours; at least 0."""
    x, y = ((v[:, None] - v).abs().fill_diagonal_(math.inf) for v in (x_N, y_N))
    reach = torch.maximum(x, y).kthvalue(INFORMATION_NEIGHBOURS, dim=1).values[:, None]
    nearer = [(1 + (distance < reach).sum(1)).double().digamma() for distance in (x, y)]
    constants = torch.tensor([float(INFORMATION_NEIGHBOURS), float(len(x))]).digamma().sum()
    return max(0.0, float(constants - torch.stack(nearer).sum(0).mean()))


def entropy(points_NM: Tensor) -> float:
    """mean_t log(N r_t^M / k) in nats, r_t the distance to the k-th nearest other token.

    As in the public code, the volume of the ball is left out, a constant.
    """
    distance = torch.cdist(points_NM, points_NM, compute_mode="donot_use_mm_for_euclid_dist")
    reach = distance.kthvalue(ENTROPY_NEIGHBOURS + 1, dim=1).values  # the token itself is at 0
    count, dimensions = points_NM.shape
    return float((reach**dimensions * count / ENTROPY_NEIGHBOURS).log().mean())
