"""Check the files of benchmark rows against listed hashes or the hash in their name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lemon.data.fetch.archive import is_hidden
from lemon.data.mirror.listing import LISTING, has_listing, read_mirror
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, digest_once, listed_files, read_manifest
from lemon.files.storage import inside

ROWS = {".parquet", ".arrow", ".json", ".jsonl", ".csv"}
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.[a-z]+")


def check_rows(place: Path) -> None:
    """Refuse the data set in `<folder>/<owner>/<name>` if a file is damaged, missing or unknown.

    The expected hash is taken from `mirror.json` in `<folder>`, else from `manifest.json` of
    prepared rows there, else from the file's name, eight hex digits before the suffix as in
    `test-29aca36a.parquet`. A file without any is accepted only if the folder has neither list.

    Raises:
        BadInput: naming the file, the found and expected hash, and how to fix it.
    """
    root = place.parent.parent
    listed, any_list = _listed(root, f"{place.parent.name}/{place.name}")
    paths = (path.relative_to(place) for path in place.rglob("*") if path.is_file())
    present = {path.as_posix() for path in paths if path.suffix in ROWS and not is_hidden(path)}
    for name in sorted({*present, *listed}):
        path = inside(place, name)
        if not path.is_file():
            raise BadInput(f"{path}: missing, though {listed[name][1]} lists it; {_fix(root)}")
        found = digest_once(path)
        if name in listed:
            expected, by = listed[name]
        elif in_name := HASH_IN_NAME.search(path.name):
            expected, by = in_name[1], "its name"
        elif any_list:
            raise BadInput(
                f"{path}: sha256 is {found}, and the folder's list of files doesn't have it; take "
                f"it out, or {_fix(root)}"
            )
        else:
            continue
        if not found.startswith(expected):
            raise BadInput(
                f"{path}: sha256 is {found}, but {by} says {expected}; the file is damaged or "
                f"altered: {_fix(root)}"
            )


def _listed(root: Path, repository: str) -> tuple[dict[str, tuple[str, str]], bool]:
    """By file of a data set: its hash and the list that has it; and whether a list exists."""
    listed: dict[str, tuple[str, str]] = {}
    tasks: dict[str, dict[str, Any]] = {}
    path, start = root / MANIFEST, f"{repository}/"
    if path.is_file():
        manifest = read_manifest(path)
        tasks = manifest.get("tasks", {}) if manifest["stage"] == "tasks" else {}
        for name, digest in (listed_files(path) or {}).items():
            if name.startswith(start):
                listed[name.removeprefix(start)] = digest, MANIFEST
        # A manifest of format 1 lists no files; its tasks name them with their hashes.
        own = {key: task for key, task in tasks.items() if task.get("repository") == repository}
        listed |= {name: (digest, MANIFEST) for name, digest in _hashes_in(own)}
    if has_listing(root) and (entry := read_mirror(root).rows.get(repository)):
        listed |= {name: (stamp.sha256, LISTING) for name, stamp in entry.files.items()}
    return listed, bool(tasks) or has_listing(root)


def _hashes_in(block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every file with its hash in a block and in the blocks inside it."""
    name, digest = block.get("file"), block.get("sha256")
    if isinstance(name, str) and isinstance(digest, str):
        yield name, digest
    for inner in block.values():
        if isinstance(inner, dict):
            yield from _hashes_in(inner)


def _fix(root: Path) -> str:
    if (root / LISTING).is_file():
        return "copy the mirror again, or run the same `lemon fetch --mirror` again"
    if (root / MANIFEST).is_file():
        return "run `lemon prepare tasks` again"
    return "copy the folder again"
