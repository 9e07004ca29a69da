"""The digest of what an evaluation left on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lemon.configuration.tasks import FOLDERS
from lemon.provenance import file_digest


def outcomes_digest(run: Path, suites: Iterable[str]) -> str:
    """A sha256 over the outcomes of a run in these suites; times and machines don't enter.

    Args:
        run: the folder of the run.
        suites: names as in `lemon.configuration.tasks`.
    """
    digest = hashlib.sha256()
    folders = [run / FOLDERS[name] for name in suites]
    for path in sorted(
        path
        for folder in folders
        for path in [*folder.glob("*.parquet"), *folder.glob("perplexity.json")]
    ):
        digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()
