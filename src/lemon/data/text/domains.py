"""Prepare text by domain: read documents, split them, tokenise and pack them for training.

Training, tune and held-out text share no document: repeated documents are dropped first, and the
split depends only on the hash of seed and content.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from lemon.configuration.preset import DomainSettings, TextSettings
from lemon.data.fetch.assets import Lock, open_asset
from lemon.data.synthetic import generated_documents
from lemon.data.text.documents import SplitDocuments
from lemon.data.text.floors import FLOORS, floors
from lemon.data.text.order import keyed_permutation
from lemon.data.text.packing import (
    FORMAT,
    SPLITS,
    PackedDomain,
    PackedSplit,
    Rows,
    first_rows,
    open_rows,
    pack,
    token_dtype,
    write_rows,
)
from lemon.data.text.readers import READERS, ROW_READERS
from lemon.data.text.tokenization import TextTokenizer
from lemon.errors import BadInput
from lemon.files.manifest import files_below, write_manifest
from lemon.files.ownership import replaced_folder
from lemon.files.storage import inside, write_json
from lemon.provenance import file_digest

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
    """Write packed text of every domain, for `PackedText` to open, and the floors of perplexity.

    Args:
        settings: domains, sequence length and limits.
        lock, cache: the fetched assets and their folder.
        source: model folder whose tokenizer is used.
        out, owner: folder to replace and its owner.
        seed: of the split and of the choice of tune and held-out rows.

    Raises:
        BadInput: a domain has no text, or too little for its held-out sequences.
    """
    started = time.monotonic()
    tokenizer = TextTokenizer(source)
    dtype = token_dtype(tokenizer.vocab_size)
    domains: dict[str, PackedDomain] = {
        name: {"weight": domain.weight, "splits": {}} for name, domain in settings.domains.items()
    }
    with replaced_folder(out, owner) as temporary:
        # The smallest first, tune and held-out text before training text: where there is too little
        # of it, that is found before the large domains are tokenised.
        for name, domain in sorted(settings.domains.items(), key=lambda item: _size(item[1], lock)):
            with TemporaryFile(dir=temporary) as file:
                found = _documents(name, domain, lock, cache, seed)
                documents = SplitDocuments(found, seed, file)
                for split in reversed(SPLITS):
                    path = inside(temporary / split, f"{name}.bin")
                    entry = _write_split(path, name, split, documents, tokenizer, settings, seed)
                    domains[name]["splits"][split] = entry
                    numbers = entry["documents"], entry["sequences"]
                    log.info("%s/%s: %d documents, %d sequences", split, name, *numbers)
        whole = sum(domain.weight for domain in settings.domains.values())
        weights = {name: domain.weight / whole for name, domain in settings.domains.items()}
        packed = {
            split: {
                name: open_rows(
                    inside(temporary / split, f"{name}.bin"), dtype, settings.sequence_length
                )
                for name in domains
            }
            for split in SPLITS
        }
        write_json(temporary / FLOORS, floors(packed, weights, tokenizer.vocab_size))
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


def _size(domain: DomainSettings, lock: Lock) -> int:
    """The bytes of a domain's asset, which may hold more than its text."""
    return lock[domain.asset].size if domain.asset is not None and domain.asset in lock else 0


def _documents(
    name: str, domain: DomainSettings, lock: Lock, cache: Path, seed: int
) -> Iterable[str]:
    """The documents of a domain, in the order of its asset."""
    if domain.asset is None:
        return generated_documents(name, seed)
    files = open_asset(lock, domain.asset, cache)
    if domain.reader in ROW_READERS:
        return ROW_READERS[domain.reader](files, domain.column)
    return READERS[domain.reader](files)


def _write_split(
    path: Path,
    name: str,
    split: str,
    documents: SplitDocuments,
    tokenizer: TextTokenizer,
    settings: TextSettings,
    seed: int,
) -> PackedSplit:
    """Write the rows of a split, and describe them.

    Training rows come from the first documents; their documents are not kept. The few tune or
    held-out rows are drawn from all documents of the split; otherwise one long document could fill
    them.
    """
    length, dtype = settings.sequence_length, token_dtype(tokenizer.vocab_size)
    rows = pack(tokenizer.encode(documents.read(split)), tokenizer.separator, length)
    if split == "train":
        needed = 1
        homes = write_rows(path, first_rows(rows, settings.train_sequences), dtype)
    else:
        needed = settings.heldout_sequences
        homes = write_rows(path, rows, dtype)
    if len(homes) < needed:
        raise BadInput(
            f"text.domains.{name}: {documents.count(split)} {split} documents give {len(homes)} "
            f"sequences of {length} tokens and {needed} are needed; lower text.sequence_length or "
            "text.heldout_sequences, or give the domain more text"
        )
    if split != "train":
        drawn = keyed_permutation(len(homes), split, seed, name)[:needed]
        homes = homes[drawn]
        write_rows(path, [Rows(open_rows(path, dtype, length)[drawn], homes)], dtype)
    return {
        "documents": documents.count(split),
        "sequences": len(homes),
        "tokens": len(homes) * length,
        "row_documents": [] if split == "train" else homes.tolist(),
        "sha256": file_digest(path),
    }
