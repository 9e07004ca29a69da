"""Token sequences in which every shared beginning is stored, and run, once.

The answers of a question share the question. As a tree their tokens fit in one row for the model:
a token has the position that it has in its own sequence, and a mask lets it see its own ancestors
only, so that one pass gives every sequence the hidden states that it has alone. Unrelated sequences
may stand in one tree as well; nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor


class TokenTree:
    """Sequences behind a common prefix that isn't part of the tree.

    Attributes:
        tokens: one token id a node; parents come before children.
        positions: how many tokens precede each node in its sequence, the prefix included.
    """

    def __init__(self, prefix_length: int = 0) -> None:
        """Start without nodes, behind a prefix of so many tokens."""
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self._prefix_length = prefix_length
        self._children: dict[tuple[int | None, int], int] = {}
        self._seen: list[int] = []  # by node, a bit for itself and each of its ancestors

    def shared(self, sequence: Sequence[int]) -> int:
        """The number of a sequence's first tokens that are already stored."""
        node = None
        for depth, token in enumerate(sequence):
            node = self._children.get((node, token))
            if node is None:
                return depth
        return len(sequence)

    def add(self, sequence: Iterable[int]) -> list[int]:
        """Store a sequence from the root on; returns its nodes, first to last."""
        node, path = None, []
        for token in sequence:
            child = self._children.get((node, token))
            if child is None:
                child = self._children[node, token] = self._new(token, node)
            node = child
            path.append(node)
        return path

    def grow(self, token: int, behind: int) -> int:
        """Store a token behind a node as a new node, and return that."""
        return self._new(token, behind)

    def _new(self, token: int, parent: int | None) -> int:
        node = len(self.tokens)
        self.tokens.append(token)
        self.positions.append(self._prefix_length if parent is None else self.positions[parent] + 1)
        self._seen.append((0 if parent is None else self._seen[parent]) | 1 << node)
        return node

    def visible(self, first: int = 0) -> Tensor:
        """Which node sees which: bool [nodes from `first` on, prefix and nodes].

        Each sees the whole prefix, its ancestors and itself.
        """
        nodes = len(self.tokens)
        width = (nodes + 7) // 8
        bits = b"".join(seen.to_bytes(width, "little") for seen in self._seen[first:])
        rows = np.frombuffer(bits, np.uint8).reshape(nodes - first, width)
        seen = torch.from_numpy(np.unpackbits(rows, axis=1, count=nodes, bitorder="little"))
        prefix = torch.ones(nodes - first, self._prefix_length, dtype=torch.bool)
        return torch.cat([prefix, seen.bool()], dim=1)


def common_beginning(sequences: Sequence[list[int]]) -> list[int]:
    """The longest beginning that all sequences share; empty where there is none."""
    first, last = min(sequences), max(sequences)  # all others lie between them
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in same]
