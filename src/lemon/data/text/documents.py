"""The documents of a domain on disk: without repeats, split by content, read back one by one.

The text is in a file. In memory are 80 bytes a document while they are sorted, and 16 after that.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import IO

import numpy as np
from numpy.typing import NDArray

HELDOUT_SHARE = 0.1  # of the documents of a domain; as many are for tuning


class SplitDocuments:
    """Unique documents in the splits `train`, `tune` and `heldout`.

    Documents are stripped; blank ones and repeats are dropped. The split, and the order in a split,
    depend only on the hash of seed and content.
    """

    def __init__(self, documents: Iterable[str], seed: int, file: IO[bytes]) -> None:
        """Write documents into an empty binary file, open for writing and reading."""
        self._file = file
        seeded, digests, ends = sha256(f"{seed}/".encode()), bytearray(), array("q", [0])
        for document in documents:
            if content := document.strip().encode():
                ends.append(ends[-1] + file.write(content))
                digest = seeded.copy()
                digest.update(content)
                digests += digest.digest()
        self._ends = np.frombuffer(ends, dtype=np.int64)
        keys = np.frombuffer(digests, dtype="V32")
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        unique = np.ones(len(order), dtype=bool)
        unique[1:] = keys[1:] != keys[:-1]
        order = order[unique]
        share = math.ceil(len(order) * HELDOUT_SHARE)
        self._splits: dict[str, NDArray[np.int64]] = {
            "train": order[2 * share :],
            "tune": order[share : 2 * share],
            "heldout": order[:share],
        }

    def count(self, split: str) -> int:
        """The documents of a split."""
        return len(self._splits[split])

    def read(self, split: str) -> Iterator[str]:
        """The documents of a split in their order."""
        for number in self._splits[split]:
            start, end = self._ends[number], self._ends[number + 1]
            self._file.seek(start)
            yield self._file.read(end - start).decode()
