"""A prefix tree of token sequences: shared prefixes are stored and computed once.

The answers of a question share the question. The tree's tokens form one row for the model: a token
has the position of its own sequence, and a mask lets it attend only to its ancestors, so that one
pass gives every sequence the same hidden states as a pass of its own. Unrelated sequences may share
a tree; nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor


class TokenTree:
    """Sequences after a common prefix that isn't part of the tree.

    Attributes:
        tokens: the token id of each node; parents come before children.
        positions: the number of tokens before each node in its sequence, including the prefix.
    """

    def __init__(self, prefix_length: int = 0) -> None:
        """An empty tree after a prefix of `prefix_length` tokens."""
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self._prefix_length = prefix_length
        self._children: dict[tuple[int | None, int], int] = {}
        self._seen: list[int] = []  # by node, bits of itself and its ancestors

    def shared(self, sequence: Sequence[int]) -> int:
        """The length of a sequence's longest stored prefix."""
        node = None
        for depth, token in enumerate(sequence):
            node = self._children.get((node, token))
            if node is None:
                return depth
        return len(sequence)

    def add(self, sequence: Iterable[int]) -> list[int]:
        """Store a sequence from the root; returns its nodes, first to last."""
        node, path = None, []
        for token in sequence:
            if (node, token) not in self._children:
                self._children[node, token] = self.grow(token, behind=node)
            node = self._children[node, token]
            path.append(node)
        return path

    def grow(self, token: int, behind: int | None) -> int:
        """Add a token after a node, or as a root; returns the new node."""
        node = len(self.tokens)
        self.tokens.append(token)
        self.positions.append(self._prefix_length if behind is None else self.positions[behind] + 1)
        self._seen.append((0 if behind is None else self._seen[behind]) | 1 << node)
        return node

    def visible(self, first: int = 0) -> Tensor:
        """The attention mask, bool [nodes from `first` on, prefix and nodes].

        Each node attends to the whole prefix, its ancestors and itself.
        """
        nodes = len(self.tokens)
        width = (nodes + 7) // 8
        bits = b"".join(seen.to_bytes(width, "little") for seen in self._seen[first:])
        rows = np.frombuffer(bits, np.uint8).reshape(nodes - first, width)
        seen = torch.from_numpy(np.unpackbits(rows, axis=1, count=nodes, bitorder="little"))
        prefix = torch.ones(nodes - first, self._prefix_length, dtype=torch.bool)
        return torch.cat([prefix, seen.bool()], dim=1)


def common_beginning(sequences: Sequence[list[int]]) -> list[int]:
    """The longest common prefix of all sequences; may be empty."""
    first, last = min(sequences), max(sequences)  # all others are between them
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in same]
