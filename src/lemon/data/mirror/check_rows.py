"""Check the files of benchmark rows against listed hashes or the hash in their name."""

from __future__ import annotations

import re
from pathlib import Path

from lemon.data.fetch.archive import is_hidden
from lemon.data.mirror.listing import LISTING, has_listing, read_mirror
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, damaged, digest_once, listed_files
from lemon.files.storage import inside

ROWS = {".parquet", ".arrow", ".json", ".jsonl", ".csv"}
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.[a-z]+")


def check_rows(place: Path) -> None:
    """BadInput if a file of the data set `<folder>/<owner>/<name>` is damaged, missing or unknown.

    The expected hash is taken from `mirror.json` in `<folder>`, else from `manifest.json` of
    prepared rows there, else from the file's name, eight hex digits before the suffix as in
    `test-29aca36a.parquet`. A file without any is accepted only if the folder has neither list.
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
            raise damaged(path, found, expected, by, _fix(root))


def _listed(root: Path, repository: str) -> tuple[dict[str, tuple[str, str]], bool]:
    """By file of a data set: its hash and the list that has it; and whether a list exists."""
    start, mirrored = f"{repository}/", has_listing(root)
    whole = listed_files(root / MANIFEST) or {}
    listed = {
        name.removeprefix(start): (digest, MANIFEST)
        for name, digest in whole.items()
        if name.startswith(start)
    }
    if mirrored and (entry := read_mirror(root).rows.get(repository)):
        listed |= {name: (stamp.sha256, LISTING) for name, stamp in entry.files.items()}
    return listed, bool(whole) or mirrored


def _fix(root: Path) -> str:
    if (root / LISTING).is_file():
        return "copy the mirror again, or run the same `lemon fetch --mirror` again"
    if (root / MANIFEST).is_file():
        return "run `lemon prepare tasks` again"
    return "copy the folder again"
