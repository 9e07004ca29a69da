"""Encode text with the tokenizer of a model folder, without transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.provenance import file_digest

BATCH_CHARACTERS = 1 << 22  # encoded at once, or one longer document; each takes 22 to 120 bytes
# Models pretrained with this token between documents still have it after tuning for chat, where
# eos_token ends a turn.
DOCUMENT_END = "<|endoftext|>"

FIX = (
    "take a model folder with a fast tokenizer; `AutoTokenizer.from_pretrained(FOLDER)"
    ".save_pretrained(FOLDER)` of transformers writes it"
)


class _AddedToken(TypedDict):
    id: int
    content: str


class _Vocabulary(TypedDict):
    vocab: dict[str, int] | list[Any]  # a list for unigram models; ids are indices


class _TokenizerFile(TypedDict):
    model: _Vocabulary
    added_tokens: list[_AddedToken]


class _ModelConfig(TypedDict):
    vocab_size: int


def require_tokenizer(folder: Path) -> int:
    """The number of embedding rows of a model.

    BadInput if there is no fast tokenizer, or one of its ids is beyond the embedding.
    """
    vocab_size = read_json(folder / "config.json", _ModelConfig, FIX)["vocab_size"]
    file = folder / "tokenizer.json"
    content = read_json(file, _TokenizerFile, FIX)
    vocab = content["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {"": len(vocab) - 1}
    ids |= {token["content"]: token["id"] for token in content["added_tokens"]}
    token, largest = max(ids.items(), key=lambda item: item[1], default=("", 0))
    if not 0 <= min(ids.values(), default=0) <= largest < vocab_size:
        raise BadInput(
            f"{file}: the token {token[:40]!r} has the id {largest}, and the model's embedding has "
            f"{vocab_size} rows; take the tokenizer that belongs to the model"
        )
    return vocab_size


class TextTokenizer:
    """Encodes documents with the fast tokenizer of a Hugging Face model folder.

    Attributes:
        separator: id that ends a document.
        vocab_size: rows of the embedding.
        digest: sha256 of the tokenizer file.
    """

    def __init__(self, source: Path) -> None:
        """BadInput if the folder holds no fast tokenizer, or no token that ends a document."""
        file = source / "tokenizer.json"
        self.vocab_size = require_tokenizer(source)
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise BadInput(f"{file}: not a fast tokenizer ({error}); {FIX}") from None
        # Else documents would be cut, or filled up to the longest of their batch.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.digest = file_digest(file)
        eos = read_json(source / "tokenizer_config.json", dict[str, Any], FIX).get("eos_token")
        ends = (DOCUMENT_END, eos.get("content") if isinstance(eos, dict) else eos)
        ids = [self._tokenizer.token_to_id(end) for end in ends if isinstance(end, str)]
        known = [id for id in ids if id is not None]
        if not known:
            raise BadInput(
                f"{source}: the tokenizer has neither {DOCUMENT_END} nor an eos_token to end a "
                "document with"
            )
        self.separator = known[0]

    def encode(self, documents: Iterable[str]) -> Iterator[NDArray[Any]]:
        """The token ids of each document, int64 [num_tokens], without special tokens.

        They are read in batches, each of which RAYON_NUM_THREADS threads share.
        """
        for batch in _batches(documents):
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int64)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch, characters = [], 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch
