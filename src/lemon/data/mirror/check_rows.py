"""Refuse rows that are not what their manifest, or the hash in their name, says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lemon.data.mirror.manifest import MANIFEST, UNFINISHED, read_mirror
from lemon.errors import BadInput
from lemon.files.manifest import digest_once, listed_files, read_manifest
from lemon.files.storage import inside

PREPARED = "manifest.json"  # that `lemon prepare tasks` writes
ROWS = {".parquet", ".arrow", ".json", ".jsonl", ".csv"}
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.[a-z]+")


def check_rows(place: Path) -> None:
    """Refuse a data set with a file that is damaged, altered, missing or unknown.

    A file's hash is looked for in the `mirror.json` of the folder that holds the data sets, then
    in the `manifest.json` of prepared rows there, then in its own name, eight hex digits before
    the ending as in `test-29aca36a.parquet`. A file with a hash in none of them is accepted only
    if the folder has neither manifest. A file is hashed once in a process as long as its size
    and time stay the same.

    Args:
        place: folder of one data set, `<folder>/<owner>/<name>`.

    Raises:
        BadInput: naming the file, the hash that was found, the one expected, and the mend.
    """
    root = place.parent.parent
    known = dict(_recorded(root, f"{place.parent.name}/{place.name}"))
    guarded = any((root / name).is_file() for name in (MANIFEST, UNFINISHED)) or bool(
        _prepared(root / PREPARED)
    )
    present = {path.relative_to(place).as_posix() for path in _row_files(place)}
    for name in sorted({*present, *known}):
        path = inside(place, name)
        if not path.is_file():
            raise BadInput(f"{path}: missing, though {known[name][1]} lists it; {_mend(root)}")
        found = digest_once(path)
        if name in known:
            expected, by = known[name]
        elif in_name := HASH_IN_NAME.search(path.name):
            expected, by = in_name[1], "its name"
        elif guarded:
            raise BadInput(
                f"{path}: sha256 is {found}, and the folder's list of files doesn't have it; take "
                f"it out, or {_mend(root)}"
            )
        else:
            continue
        if not found.startswith(expected):
            raise BadInput(
                f"{path}: sha256 is {found}, but {by} says {expected}; the file is damaged or "
                f"altered: {_mend(root)}"
            )


def _recorded(root: Path, repository: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """By file, its hash and where that is written; the mirror's own list comes last and wins."""
    for name, digest in (listed_files(root / PREPARED) or {}).items():
        if name.startswith(f"{repository}/"):
            yield name.removeprefix(f"{repository}/"), (digest, PREPARED)
    for task in _prepared(root / PREPARED).values():
        if task.get("repository") == repository:
            for file in _files_in(task):
                yield file["file"], (file["sha256"], PREPARED)
    if any((root / name).is_file() for name in (MANIFEST, UNFINISHED)):
        entry = read_mirror(root).rows.get(repository)
        for name, stamp in entry.files.items() if entry else ():
            yield name, (stamp.sha256, MANIFEST)


def _prepared(path: Path) -> dict[str, dict[str, Any]]:
    """The tasks in a manifest of prepared rows; none where it is another manifest."""
    if not path.is_file():
        return {}
    content = read_manifest(path)
    tasks: dict[str, dict[str, Any]] = content.get("tasks", {})
    return tasks if content["stage"] == "tasks" else {}


def _files_in(value: Any) -> Iterator[dict[str, str]]:
    """Every block with a file and its hash, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str) and isinstance(value.get("sha256"), str):
            yield value
        for inner in value.values():
            yield from _files_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _files_in(inner)


def _row_files(place: Path) -> Iterator[Path]:
    for path in place.rglob("*"):
        parts = path.relative_to(place).parts
        if path.suffix in ROWS and path.is_file() and not any(p.startswith(".") for p in parts):
            yield path


def _mend(root: Path) -> str:
    if (root / MANIFEST).is_file():
        return "copy the mirror anew, or run the same `lemon fetch --mirror` again"
    if (root / PREPARED).is_file():
        return "run `lemon prepare tasks` again"
    return "copy the folder anew"
