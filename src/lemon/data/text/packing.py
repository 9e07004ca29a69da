"""Token rows of one length: packed, stored as memory maps, and visited in a fixed order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import Absent, checked
from lemon.files.manifest import MANIFEST, read_manifest, require_digest
from lemon.files.storage import inside

FORMAT = 1
PREPARE = "run `lemon prepare text` again"
SPLITS = ("train", "heldout")
BLOCK = 4096  # places of the training order dealt at once
Tokens = NDArray[np.int64]


class PackedSplit(TypedDict):
    """What the manifest says of one `<split>/<domain>.bin`."""

    documents: int  # that were tokenised
    sequences: int  # rows
    tokens: int  # predicted by these rows
    sha256: str


class PackedDomain(TypedDict):
    """What the manifest says of one domain."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    splits: dict[str, PackedSplit]


class PackedManifest(BaseModel):
    """What the manifest of packed text says of its files."""

    model_config = ConfigDict(strict=True)

    text_format: int
    sequence_length: Annotated[int, Field(ge=1)]
    vocab_size: Annotated[int, Field(ge=1)]
    dtype: Literal["uint16", "uint32"]
    domains: dict[str, PackedDomain]
    domain_order: list[str]


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every token id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def pack(documents: Iterable[NDArray[Any]], separator: int, sequence_length: int) -> NDArray[Any]:
    """Join documents, each followed by `separator`, and cut the stream into rows.

    Returns:
        [num_rows, sequence_length + 1]. A row's last token is the next row's first, so that over
        all rows every token but the very first is predicted exactly once; what does not fill a
        row is dropped.
    """
    end = np.array([separator])
    parts = [part for document in documents for part in (document, end)]
    stream = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    num_rows = max(0, (len(stream) - 1) // sequence_length)
    starts = np.arange(num_rows)[:, None] * sequence_length
    return stream[starts + np.arange(sequence_length + 1)[None, :]]


def write_rows(path: Path, rows: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Write rows as a raw little-endian array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows.astype(dtype.newbyteorder("<")).tobytes())  # tofile hides a full disk


def keyed_words(count: int, *key: object) -> NDArray[np.uint64]:
    """`count` random 64-bit words that depend on `key` alone, on every platform and version."""
    words = np.frombuffer(sha256("/".join(map(str, key)).encode()).digest()[:16], dtype="<u8")
    return np.random.Philox(key=words.astype(np.uint64)).random_raw(count)


def keyed_uniform(count: int, *key: object) -> NDArray[np.float64]:
    """`count` random numbers in [0, 1) that depend on `key` alone."""
    words = keyed_words(count, *key) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def keyed_permutation(count: int, *key: object) -> Tokens:
    """A permutation of range(count) that depends on `key` alone."""
    return np.argsort(keyed_words(count, *key), kind="stable")


class PackedText:
    """Packed text on disk, opened as memory maps.

    `domains` in the manifest's order, `weights` (share of training sequences, summing to one),
    `sequence_length` (tokens a row predicts), `vocab_size`.
    """

    def __init__(self, path: Path, splits: Sequence[str] = SPLITS) -> None:
        """Open what `prepare_text` wrote.

        Args:
            path: the folder.
            splits: those that will be read; their files are held against their digests.

        Raises:
            BadInput: there is none, it is of another format, or a file is damaged.
        """
        self.path = path
        file = path / MANIFEST
        try:
            manifest = checked(read_manifest(file), PackedManifest, str(file), PREPARE)
        except Absent:
            raise BadInput(f"{path}: no packed text here; run `lemon prepare text`") from None
        if manifest.text_format != FORMAT:
            raise BadInput(f"{file}: packed text of format {manifest.text_format}; {PREPARE}")
        if sorted(manifest.domain_order) != sorted(manifest.domains) or any(
            sorted(domain["splits"]) != sorted(SPLITS) for domain in manifest.domains.values()
        ):
            raise BadInput(f"{file}: its domains are not all there; {PREPARE}")
        declared = {name: manifest.domains[name] for name in manifest.domain_order}
        self.sequence_length = manifest.sequence_length
        self.vocab_size = manifest.vocab_size
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self.domains = list(declared)
        total = sum(domain["weight"] for domain in declared.values())
        self.weights = {name: domain["weight"] / total for name, domain in declared.items()}
        self._rows = {
            (split, name): self._open(split, name, said, dtype)
            for name, domain in declared.items()
            for split, said in domain["splits"].items()
            if split in splits
        }
        parts = manifest.model_dump(include={"sequence_length", "vocab_size", "dtype"})
        described = [parts, list(declared.items())]
        self.digest = sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def _open(
        self, split: str, domain: str, said: PackedSplit, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        file, rows = inside(self.path / split, f"{domain}.bin"), said["sequences"]
        expected = rows * (self.sequence_length + 1) * dtype.itemsize
        actual = file.stat().st_size if file.exists() else None
        if actual != expected or not expected:
            found = "is missing" if actual is None else f"has {actual} bytes"
            raise BadInput(
                f"{file}: {found}, the manifest says {expected} bytes; remove the folder "
                f"{self.path} and {PREPARE}"
            )
        require_digest(file, said["sha256"], str(self.path / MANIFEST))
        return np.memmap(file, dtype=dtype, mode="r", shape=(rows, self.sequence_length + 1))

    def num_sequences(self, split: str, domain: str) -> int:
        """Rows of a domain in `train` or `heldout`."""
        return len(self._rows[split, domain])

    def sequence(self, split: str, domain: str, row: int) -> Tokens:
        """One row: int64 [sequence_length + 1]."""
        return self._rows[split, domain][row].astype(np.int64)


class RowEpochs:
    """The training rows of every domain: epoch follows epoch, each a fresh permutation of all."""

    def __init__(self, num_sequences: Mapping[str, int], seed: int) -> None:
        """Fix the epochs.

        Raises:
            BadInput: a domain has no rows.
        """
        for domain, count in num_sequences.items():
            if count < 1:
                raise BadInput(f"domain {domain}: no training sequences")
        self.num_sequences = dict(num_sequences)
        self.seed = seed
        self._permutation = lru_cache(maxsize=4 * len(self.num_sequences))(self._permute)

    def row(self, domain: str, rank: int) -> int:
        """The row that a domain gives when `rank` of its rows, repeats included, went before."""
        epoch, step = divmod(rank, self.num_sequences[domain])
        return int(self._permutation(domain, epoch)[step])

    def _permute(self, domain: str, epoch: int) -> Tokens:
        """The rows of a domain in the order of an epoch."""
        return keyed_permutation(self.num_sequences[domain], "epoch", self.seed, domain, epoch)


def place_uniforms(seed: int, block: int) -> NDArray[np.float64]:
    """What deals the places of a block to domains: uniform in [0, 1), [BLOCK]."""
    words = keyed_words(BLOCK, "domain", seed, block)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def require_domains(what: str, values: Mapping[str, object], domains: Sequence[str]) -> None:
    """Refuse values that are not one a domain.

    Raises:
        BadInput: a domain has no value, or a value has no domain; the message begins with `what`.
    """
    for domain in domains:
        if domain not in values:
            raise BadInput(f"{what}: none for the domain {domain}; give every domain one")
    for domain in values:
        if domain not in domains:
            known = ", ".join(domains)
            raise BadInput(f"{what}: there is no domain {domain}; the domains are {known}")


def mixture_shares(weights: Mapping[str, float], domains: Sequence[str]) -> NDArray[np.float64]:
    """The weights of the domains as shares that sum to one, [num_domains].

    Raises:
        BadInput: a domain has no weight, or one that is not positive and finite.
    """
    require_domains("mixture weights", weights, domains)
    for domain in domains:
        if not (math.isfinite(weights[domain]) and weights[domain] > 0):
            raise BadInput(
                f"domain {domain}: its weight is {weights[domain]}; give it a positive number, or "
                "leave the domain out of the mixture"
            )
    shares = np.array([weights[domain] for domain in domains], dtype=np.float64)
    return shares / shares.sum()


class SequenceOrder:
    """Which row comes at which place of the endless training order.

    A pure function of (seed, place): the same after a resume, on any number of workers, and for
    every run that sees the same text. Places are dealt to domains at random by weight; inside a
    domain, epoch follows epoch, each a fresh permutation of all rows.
    """

    def __init__(
        self, num_sequences: Mapping[str, int], weights: Mapping[str, float], seed: int
    ) -> None:
        """Fix the order.

        Args:
            num_sequences: training rows by domain.
            weights: share of the places by domain, up to a common factor.
            seed: of the order.

        Raises:
            BadInput: a domain has no rows, or no positive and finite weight.
        """
        self.seed = seed
        self.domains = list(num_sequences)
        self._epochs = RowEpochs(num_sequences, seed)
        self._bounds = np.cumsum(mixture_shares(weights, self.domains))[:-1]
        # Places before each dealt block, by domain: a cache, grown as far as was asked for.
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
        return domain, self._epochs.row(domain, rank)

    def _deal(self, block: int) -> NDArray[np.int64]:
        """The domains of the places of a block, [BLOCK]."""
        return np.searchsorted(self._bounds, place_uniforms(self.seed, block), side="right")


def training_batch(text: PackedText, order: SequenceOrder, first_index: int, count: int) -> Tokens:
    """The training rows at places first_index, ..., first_index + count - 1.

    Returns:
        int64 [count, sequence_length + 1].
    """
    places = (order.locate(index) for index in range(first_index, first_index + count))
    return np.stack([text.sequence("train", domain, row) for domain, row in places])
