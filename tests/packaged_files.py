"""Documents as the packages hold them, and archives like the packages, with made-up text."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import LockedAsset
from lemon.provenance import file_digest

ARC_DOC = {
    "id": "Q1",
    "query": "Question: What is\nAnswer: it?\nAnswer:",
    "choices": ["no", "yes", "both"],
    "gold": 1,
}

BOOLQ_DOC = {
    "idx": 4,
    "query": "Fox -- A fox.\nQuestion: What?\nQuestion: is a fox grey?\nAnswer:",
    "choices": ["yes", "no"],
    "gold": 1,
}

LAMBADA_DOC = {"id": 3, "query": "The fox met the owl, and the owl met the", "choices": ["fox"]}


def archive(path: Path, files: dict[str, bytes]) -> AssetFiles:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return AssetFiles(path)


def locked(path: Path, members: tuple[str, ...] = ()) -> LockedAsset:
    """The lock's entry of an archive that lies in the cache itself."""
    size = path.stat().st_size
    return LockedAsset("pypi", path.stem, "1", file_digest(path), size, path.name, members, "CC0")
