"""Avg: average the layers of contiguous clusters.

Paper, section 4.3, a baseline of Table 3: gamma[i, j] = 1 / |C_i| for j in cluster C_i (method.md,
section 7). Clusters are contiguous and agglomerative on CKA (open point 17), with average linkage:
each layer starts as a cluster, and the two neighbouring clusters with the largest mean similarity
over all pairs of their layers are joined until one cluster per target layer is left. Layer
similarity is the mean of the plain CKA maps of a layer's seven matrices.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.similarity.cka import cka_matrix

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def build(context: BuildContext) -> Operators:
    """Operators that average each cluster, the same for all nine types."""
    similarity = np.mean([cka_matrix(context.source, name) for name in MATRICES], axis=0)
    clusters = contiguous_clusters(similarity, context.target.num_hidden_layers)
    gamma = torch.zeros(len(clusters), len(similarity))
    for row, layers in enumerate(clusters):
        gamma[row, layers] = 1.0 / len(layers)
    return context.layer_operators(Dense(gamma))


def contiguous_clusters(similarity: np.ndarray, num_clusters: int) -> list[list[int]]:
    """The layers of each cluster, in order, after joining neighbours by average linkage.

    `similarity` is [L, L], larger for more similar layers; `num_clusters` is 1 to L. Of equally
    similar pairs the first is joined first.
    """
    clusters = [[layer] for layer in range(len(similarity))]
    while len(clusters) > num_clusters:
        links = [similarity[np.ix_(left, right)].mean() for left, right in pairwise(clusters)]
        first = int(np.argmax(links))
        clusters[first : first + 2] = [clusters[first] + clusters[first + 1]]
    return clusters
