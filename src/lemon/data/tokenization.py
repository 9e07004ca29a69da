"""The tokenizer of a model folder, without the rest of transformers: it only encodes text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lemon.errors import BadInput
from lemon.provenance import file_digest

BATCH = 64  # documents encoded at once
# Models pretrained with this token between documents keep it when tuned for chat, while their
# eos_token then ends a turn.
DOCUMENT_END = "<|endoftext|>"


class TextTokenizer:
    """Encodes documents with the fast tokenizer of a Hugging Face model folder.

    `separator` is the id that ends a document, `vocab_size` the number of rows of the embedding,
    `digest` the sha256 of the tokenizer file.
    """

    def __init__(self, source: Path) -> None:
        """Read `tokenizer.json` and what belongs to it.

        Raises:
            BadInput: the folder holds no fast tokenizer, or no token that ends a document.
        """
        file = source / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
            config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
            model = json.loads((source / "config.json").read_text(encoding="utf-8"))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise BadInput(
                f"{source}: not a model folder with a fast tokenizer ({error}); make it with "
                "`lemon prepare source`"
            ) from None
        self.digest = file_digest(file)
        self.vocab_size: int = model["vocab_size"]
        self.separator = self._separator(source, config)

    def _separator(self, source: Path, config: dict[str, Any]) -> int:
        eos = config.get("eos_token")
        for token in (DOCUMENT_END, eos["content"] if isinstance(eos, dict) else eos):
            if token is not None and (found := self._tokenizer.token_to_id(token)) is not None:
                return found
        raise BadInput(
            f"{source}: the tokenizer has neither {DOCUMENT_END} nor an eos_token to end a "
            "document with"
        )

    def encode(self, documents: Sequence[str]) -> Iterator[NDArray[Any]]:
        """The token ids of each document in turn, int64 [num_tokens], nothing added."""
        for start in range(0, len(documents), BATCH):
            batch = list(documents[start : start + BATCH])
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int64)
