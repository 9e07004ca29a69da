"""Packed text with given rows, as `prepare_text` lays it down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemon.data.text.packing import FORMAT, SPLITS, Rows, token_dtype, write_rows
from lemon.files.manifest import MANIFEST, files_below, write_manifest
from lemon.provenance import file_digest

ByDomain = Mapping[str, NDArray[np.int64]]


def write_packed_text(
    folder: Path,
    train: ByDomain,
    heldout: ByDomain,
    weights: Mapping[str, float],
    vocab_size: int,
    tune: ByDomain | None = None,
) -> Path:
    """Write the rows of each domain and the manifest.

    Args:
        train: the training rows of each domain, [num_rows, sequence_length + 1].
        heldout: the same of the held-out rows, for the same domains.
        weights: of the domains, in their order.
        tune: the rows to tune on; None for the same as held out.
    """
    tune = heldout if tune is None else tune
    dtype = token_dtype(vocab_size)
    domains: dict[str, dict[str, object]] = {}
    for name, weight in weights.items():
        splits = {}
        for split, rows in zip(SPLITS, (train[name], tune[name], heldout[name]), strict=True):
            file = folder / split / f"{name}.bin"
            documents = write_rows(file, [Rows(rows, np.arange(len(rows)))], dtype)
            splits[split] = {
                "documents": 1,
                "sequences": len(rows),
                "tokens": rows[:, 1:].size,
                "row_documents": [] if split == "train" else documents.tolist(),
                "sha256": file_digest(file),
            }
        domains[name] = {"weight": weight, "splits": splits}
    write_manifest(
        folder / MANIFEST,
        "text",
        files=files_below(folder),
        started=time.monotonic(),
        text_format=FORMAT,
        sequence_length=next(iter(train.values())).shape[1] - 1,
        vocab_size=vocab_size,
        dtype=dtype.name,
        domains=domains,
        domain_order=list(domains),
    )
    return folder
