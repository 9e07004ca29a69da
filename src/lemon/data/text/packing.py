"""Token rows of equal length: packed, stored as raw arrays, opened as memory maps."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from lemon.data.text.order import SequenceOrder, Tokens
from lemon.errors import BadInput
from lemon.files.json_file import Absent, checked
from lemon.files.manifest import MANIFEST, read_manifest, require_digest
from lemon.files.storage import inside

FORMAT = 2
PREPARE = "run `lemon prepare text` again"
# Disjoint by document: train is learned from, choices are made on tune, heldout is reported.
SPLITS = ("train", "tune", "heldout")


class PackedSplit(TypedDict):
    """The manifest entry of one `<split>/<domain>.bin`."""

    documents: int  # documents of the split
    sequences: int  # rows
    tokens: int  # predicted by these rows
    row_documents: list[int]  # by row, the document of its first predicted token; empty for train
    sha256: str


class PackedDomain(TypedDict):
    """The manifest entry of one domain."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    splits: dict[str, PackedSplit]


class PackedManifest(BaseModel):
    """The manifest fields that describe packed text."""

    model_config = ConfigDict(strict=True)

    text_format: int
    sequence_length: Annotated[int, Field(ge=1)]
    vocab_size: Annotated[int, Field(ge=1)]
    dtype: Literal["uint16", "uint32"]
    domains: dict[str, PackedDomain]
    domain_order: list[str]


class Rows(NamedTuple):
    """Some rows of packed text."""

    tokens: NDArray[Any]  # [num_rows, sequence_length + 1]
    documents: NDArray[np.int64]  # [num_rows], the document of each row's first predicted token


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every token id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def pack(documents: Iterable[NDArray[Any]], separator: int, sequence_length: int) -> Iterator[Rows]:
    """Join documents, each followed by `separator`, and cut the stream into rows.

    A row's last token is also the next row's first, so every token but the very first is predicted
    exactly once. An incomplete last row is dropped.

    Yields:
        The rows that a document completes. A row belongs to the document of its first predicted
        token; a separator belongs to the document before it.
    """
    begun, home = np.empty(0, dtype=np.int64), 0  # the row that is not yet complete
    for number, document in enumerate(documents):
        if len(begun) < 2:
            home = number
        stream = np.concatenate([begun, document, [separator]])
        if num_rows := (len(stream) - 1) // sequence_length:
            homes = np.full(num_rows, number)
            homes[0], home = home, number
            yield Rows(sliding_window_view(stream, sequence_length + 1)[::sequence_length], homes)
        begun = stream[num_rows * sequence_length :]


def first_rows(blocks: Iterable[Rows], limit: int) -> Iterator[Rows]:
    """The first rows of all, at most `limit`; no more blocks are asked for than they need."""
    for rows in blocks:
        yield Rows(rows.tokens[:limit], rows.documents[:limit])
        limit -= len(rows.tokens)
        if limit <= 0:
            return


def write_rows(path: Path, blocks: Iterable[Rows], dtype: np.dtype[Any]) -> NDArray[np.int64]:
    """Write rows as a raw little-endian array; the document of each of them, [num_rows]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    documents = array("q")
    with path.open("wb") as file:
        for rows in blocks:
            # Not tofile, which does not report a full disk.
            file.write(rows.tokens.astype(dtype.newbyteorder("<")).tobytes())
            documents.extend(rows.documents)
    return np.frombuffer(documents, dtype=np.int64)


def open_rows(path: Path, dtype: np.dtype[Any], sequence_length: int) -> NDArray[Any]:
    """The rows of a file that `write_rows` wrote, [num_rows, sequence_length + 1], on disk."""
    tokens = np.memmap(path, dtype.newbyteorder("<"), mode="r")
    return tokens.reshape(-1, sequence_length + 1)


class PackedText:
    """Packed text on disk, opened as memory maps.

    Attributes:
        domains: in the manifest's order.
        weights: share of training sequences by domain, summing to one.
        sequence_length: tokens predicted by a row.
        vocab_size: rows of the embedding.
        digest: sha256 over sizes, domains, weights and the digests of all files.
    """

    def __init__(self, path: Path, splits: Sequence[str] = SPLITS) -> None:
        """Open the folder that `prepare_text` wrote, to read `splits`, whose files are checked.

        BadInput if there is none, it has another format, or a file is damaged.
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
        self.domains = list(declared)
        self.sequence_length, self.vocab_size = manifest.sequence_length, manifest.vocab_size
        dtype = np.dtype(manifest.dtype)
        self._splits = {name: domain["splits"] for name, domain in declared.items()}
        total = sum(domain["weight"] for domain in declared.values())
        self.weights = {name: domain["weight"] / total for name, domain in declared.items()}
        self._rows = {
            (split, name): self._open(split, name, entry, dtype)
            for name, domain in declared.items()
            for split, entry in domain["splits"].items()
            if split in splits
        }
        parts = manifest.model_dump(include={"sequence_length", "vocab_size", "dtype"})
        described = [parts, list(declared.items())]
        self.digest = sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def _open(
        self, split: str, domain: str, entry: PackedSplit, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        file, rows = inside(self.path / split, f"{domain}.bin"), entry["sequences"]
        expected = rows * (self.sequence_length + 1) * dtype.itemsize
        actual = file.stat().st_size if file.exists() else None
        if actual != expected or not expected:
            found = "is missing" if actual is None else f"has {actual} bytes"
            raise BadInput(
                f"{file}: {found}, the manifest says {expected} bytes; remove the folder "
                f"{self.path} and {PREPARE}"
            )
        if split != "train" and len(entry["row_documents"]) != rows:
            raise BadInput(
                f"{self.path / MANIFEST}: names the documents of {len(entry['row_documents'])} of "
                f"the {rows} rows of {split}/{domain}; {PREPARE}"
            )
        require_digest(file, entry["sha256"], str(self.path / MANIFEST))
        return open_rows(file, dtype, self.sequence_length)

    def require_vocabulary(self, vocab_size: int) -> None:
        """BadInput if there are token ids that a model of this vocabulary does not know."""
        if self.vocab_size > vocab_size:
            raise BadInput(
                f"{self.path}: has token ids up to {self.vocab_size - 1}, the model {vocab_size} "
                "words; prepare the text with the model's tokenizer"
            )

    def num_sequences(self, split: str, domain: str) -> int:
        """Rows of a domain in a split."""
        return len(self._rows[split, domain])

    def sequence(self, split: str, domain: str, row: int) -> Tokens:
        """One row: int64 [sequence_length + 1]."""
        return self._rows[split, domain][row].astype(np.int64)

    def documents(self, split: str, domain: str) -> list[int]:
        """By row of `tune` or `heldout`, the document of its first predicted token."""
        return self._splits[domain][split]["row_documents"]


def training_batch(text: PackedText, order: SequenceOrder, first_index: int, count: int) -> Tokens:
    """The rows at places first_index, ..., first_index + count - 1: int64 [count, length + 1]."""
    places = (order.locate(index) for index in range(first_index, first_index + count))
    return np.stack([text.sequence("train", domain, row) for domain, row in places])
