"""Prepare text by domain: read documents, split them, tokenise and pack them for training.

Training and held-out text share no document: repeated documents are dropped first, and the split
depends only on the hash of seed and content.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lemon.configuration.preset import DomainSettings, TextSettings
from lemon.data.fetch.assets import Lock, open_asset
from lemon.data.synthetic import generated_documents
from lemon.data.text.order import keyed_permutation
from lemon.data.text.packing import FORMAT, PackedDomain, pack, token_dtype, write_rows
from lemon.data.text.readers import READERS
from lemon.data.text.tokenization import TextTokenizer
from lemon.errors import BadInput
from lemon.files.manifest import files_below, write_manifest
from lemon.files.ownership import replaced_folder
from lemon.files.storage import inside
from lemon.provenance import file_digest

HELDOUT_SHARE = 0.1  # of the documents of a domain
log = logging.getLogger(__name__)


def prepare_text(
    settings: TextSettings,
    *,
    lock: Lock,
    cache: Path,
    source: Path,
    out: Path,
    seed: int,
    owner: str = "text",
) -> None:
    """Write packed training and held-out text of every domain, for `PackedText` to open.

    Args:
        settings: domains, sequence length and limits.
        lock, cache: the fetched assets and their folder.
        source: model folder whose tokenizer is used.
        out, owner: folder to replace and its owner.
        seed: of the split and of the choice of held-out rows.

    Raises:
        BadInput: a domain has no text, or too little for its held-out sequences.
    """
    started = time.monotonic()
    tokenizer = TextTokenizer(source)
    dtype = token_dtype(tokenizer.vocab_size)
    domains: dict[str, PackedDomain] = {}
    with replaced_folder(out, owner) as temporary:
        for name, domain in settings.domains.items():
            documents = unique_documents(_documents(name, domain, lock, cache, seed))
            domains[name] = {"weight": domain.weight, "splits": {}}
            for split, texts in split_documents(documents, seed).items():
                rows = _rows(name, split, texts, tokenizer, settings, seed)
                path = inside(temporary / split, f"{name}.bin")
                write_rows(path, rows, dtype)
                domains[name]["splits"][split] = {
                    "documents": len(texts),
                    "sequences": len(rows),
                    "tokens": len(rows) * settings.sequence_length,
                    "sha256": file_digest(path),
                }
                log.info("%s/%s: %d documents, %d sequences", split, name, len(texts), len(rows))
        assets = [domain.asset for domain in settings.domains.values() if domain.asset]
        write_manifest(
            temporary / "manifest.json",
            "text",
            files=files_below(temporary),
            owner=owner,
            settings=settings.model_dump(mode="json"),
            inputs={"tokenizer": tokenizer.digest, **{a: lock[a].sha256 for a in assets}},
            seed=seed,
            started=started,
            text_format=FORMAT,
            sequence_length=settings.sequence_length,
            vocab_size=tokenizer.vocab_size,
            dtype=dtype.name,
            separator=tokenizer.separator,
            domains=domains,
            # A list, because JSON objects are written with sorted keys.
            domain_order=list(domains),
        )


def _documents(
    name: str, domain: DomainSettings, lock: Lock, cache: Path, seed: int
) -> Iterable[str]:
    """The documents of a domain, in the order of its asset."""
    if domain.reader == "generated":
        return generated_documents(name, seed)
    if domain.asset is None:
        raise BadInput(
            f"text.domains.{name}: the reader {domain.reader} needs an asset; name one of "
            "config/assets.yaml"
        )
    return READERS[domain.reader](open_asset(lock, domain.asset, cache))


def unique_documents(documents: Iterable[str]) -> list[str]:
    """The documents, stripped, without blank ones and repeats."""
    return list(dict.fromkeys(filter(None, (document.strip() for document in documents))))


def split_documents(documents: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Split documents into `train` and `heldout`, ordered by the hash of seed and content."""
    ordered = sorted(documents, key=lambda text: sha256(f"{seed}/{text}".encode()).digest())
    num_heldout = math.ceil(len(ordered) * HELDOUT_SHARE)
    return {"train": ordered[num_heldout:], "heldout": ordered[:num_heldout]}


def _rows(
    name: str,
    split: str,
    texts: list[str],
    tokenizer: TextTokenizer,
    settings: TextSettings,
    seed: int,
) -> NDArray[Any]:
    """The rows of a split, [num_rows, sequence_length + 1].

    Training rows come from the first documents. The few held-out rows are drawn from all held-out
    documents; otherwise one long document could fill them.
    """
    length = settings.sequence_length
    if split == "train":
        limit, needed = settings.train_sequences, 1
        tokens, total = [], 0
        for document in tokenizer.encode(texts):
            tokens.append(document)
            total += len(document) + 1
            if total > limit * length:
                break
        rows = pack(tokens, tokenizer.separator, length)[:limit]
    else:
        rows = pack(tokenizer.encode(texts), tokenizer.separator, length)
        needed = limit = settings.heldout_sequences
        rows = rows[keyed_permutation(len(rows), "heldout", seed, name)[:limit]]
    if len(rows) < needed:
        raise BadInput(
            f"text.domains.{name}: {len(texts)} {split} documents give {len(rows)} sequences of "
            f"{length} tokens and {needed} are needed; lower text.sequence_length or "
            "text.heldout_sequences, or give the domain more text"
        )
    return rows
