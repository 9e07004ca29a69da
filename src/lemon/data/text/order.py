"""The endless order in which a run reads training rows, as a function of (seed, place).

Each place is assigned to a random domain by the weights of the mixture. A domain's rows are read in
epochs, each a new permutation of all its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096  # places assigned at once
Tokens = NDArray[np.int64]


def _keyed_words(count: int, *key: object) -> NDArray[np.uint64]:
    """`count` random 64-bit words that depend only on `key`, not on platform or version."""
    words = np.frombuffer(sha256("/".join(map(str, key)).encode()).digest()[:16], dtype="<u8")
    return np.random.Philox(key=words.astype(np.uint64)).random_raw(count)


def keyed_uniform(count: int, *key: object) -> NDArray[np.float64]:
    """`count` random numbers in [0, 1) that depend only on `key`."""
    return (_keyed_words(count, *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def keyed_permutation(count: int, *key: object) -> Tokens:
    """A permutation of range(count) that depends only on `key`."""
    return np.argsort(_keyed_words(count, *key), kind="stable")


def mixture_shares(weights: Mapping[str, float], domains: Sequence[str]) -> NDArray[np.float64]:
    """The weights of the domains as shares that sum to one, [num_domains]."""
    shares = np.array([weights[domain] for domain in domains], dtype=np.float64)
    return shares / shares.sum()


class RandomRows:
    """The random numbers of an order: uniforms that assign places to domains, and epochs."""

    def __init__(self, num_sequences: Mapping[str, int], seed: int) -> None:
        """An order over `num_sequences` training rows by domain, at least one of each."""
        self.domains = list(num_sequences)
        self._num_sequences = dict(num_sequences)
        self._seed = seed
        self._permutation = lru_cache(maxsize=4 * len(self.domains))(self._permute)

    def uniforms(self, block: int) -> NDArray[np.float64]:
        """The numbers that assign the places of a block to domains: uniform in [0, 1), [BLOCK]."""
        return keyed_uniform(BLOCK, "domain", self._seed, block)

    def row(self, domain: str, rank: int) -> int:
        """The row of a domain after `rank` of its rows (including repeats) have been drawn."""
        epoch, step = divmod(rank, self._num_sequences[domain])
        return int(self._permutation(domain, epoch)[step])

    def _permute(self, domain: str, epoch: int) -> Tokens:
        return keyed_permutation(self._num_sequences[domain], "epoch", self._seed, domain, epoch)


class SequenceOrder(RandomRows):
    """The row at each place, with a fixed mixture.

    A pure function of (seed, place): the same after a resume, on any number of workers, and for
    every run on the same text.
    """

    def __init__(
        self, num_sequences: Mapping[str, int], weights: Mapping[str, float], seed: int
    ) -> None:
        """An order as `RandomRows`; `weights` are shares of the places, up to a common factor."""
        super().__init__(num_sequences, seed)
        self._bounds = np.cumsum(mixture_shares(weights, self.domains))[:-1]
        # Number of places of each domain before each block: a cache, extended on demand.
        self._before = [np.zeros(len(self.domains), dtype=np.int64)]
        self._dealt = lru_cache(maxsize=8)(self._deal)

    def locate(self, index: int) -> tuple[str, int]:
        """The (domain, row) at place `index`, counted from 0."""
        block, offset = divmod(index, BLOCK)
        while len(self._before) <= block:
            dealt = self._dealt(len(self._before) - 1)
            counts = np.bincount(dealt, minlength=len(self.domains))
            self._before.append(self._before[-1] + counts)
        dealt = self._dealt(block)
        chosen = int(dealt[offset])
        rank = int(self._before[block][chosen] + np.count_nonzero(dealt[:offset] == chosen))
        domain = self.domains[chosen]
        return domain, self.row(domain, rank)

    def _deal(self, block: int) -> NDArray[np.int64]:
        """The domain index of each place of a block, [BLOCK]."""
        return np.searchsorted(self._bounds, self.uniforms(block), side="right")
