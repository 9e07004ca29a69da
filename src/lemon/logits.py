"""Logits, the scores over the vocabulary, in pieces that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

ROWS = 16


def in_cache(logits_TV: Tensor, targets_T: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Float32 logits [ROWS, V] of a few tokens at a time, and their targets [ROWS].

    The loss of each token has the same bits as from all T rows at once. On a CPU that takes about
    eight times as long, mostly for float32 arrays of T x V that are allocated anew.
    """
    for logits, targets in zip(logits_TV.split(ROWS), targets_T.split(ROWS), strict=True):
        yield logits.float(), targets
