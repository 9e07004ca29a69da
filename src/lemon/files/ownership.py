"""Ownership of output folders: a command writes only into its own folder or an empty one.

A folder that is replaced as a whole records its owner and the program's files in its manifest. A
folder that is written step by step records its owner from the start, in its lock file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, read_manifest
from lemon.files.storage import LOCK, atomic_folder, real_path, refusals_told, sole_writer

OF_THE_SYSTEM = (".DS_Store",)  # left by a file browser
NAME_ANOTHER = "nothing was changed; name a new or empty folder"


def owner_of_run(preset: str, run: str) -> str:
    """The owner of a run's folder."""
    return f"run {run} of preset {preset}"


def owner_of_trial(preset: str, rates: str, number: int) -> str:
    """The owner of a trial's folder."""
    return f"trial {number} of rates {rates} of preset {preset}"


def owner_of_made(stage: str, origin: Path, out: Path) -> str:
    """The owner of outcomes or a fused model: the model or operators, by their path from there."""
    return f"{stage} of {os.path.relpath(real_path(origin), real_path(out))}"


def owner_of_prepared(stage: str, preset: str) -> str:
    """The owner of a folder of `lemon prepare`."""
    return f"{stage} of preset {preset}"


@contextmanager
def own_folder(folder: Path, owner: str) -> Iterator[None]:
    """Take a folder, created if missing, to write into step by step, as its owner and alone.

    BadInput if it has another owner or holds foreign files, which is checked before anything is
    written, or if another process writes there.
    """
    require_owned(folder, owner)
    with sole_writer(folder):
        require_owned(folder, owner)  # another process may have been first
        lock = folder / LOCK
        if _owner_in_lock(lock) != owner:
            with refusals_told(lock):  # written in place, since replacing it would lose the lock
                lock.write_text(json.dumps({"owner": owner}) + "\n", encoding="utf-8")
        yield


@contextmanager
def replaced_folder(folder: Path, owner: str) -> Iterator[Path]:
    """Give an empty temporary folder that replaces `folder` when the block succeeds.

    The block must write a manifest with this owner that lists every file. BadInput if `folder` has
    another owner, or holds a file that its manifest does not list.
    """
    require_replaceable(folder, owner)
    with atomic_folder(folder) as temporary:
        yield temporary
        require_replaceable(folder, owner)  # files may have been added in the meantime


def require_replaceable(folder: Path, owner: str) -> None:
    """Check as `replaced_folder` does, before any work is done; raises as it does."""
    manifest, place = require_owned(folder, owner) or {}, real_path(folder)
    ours = {MANIFEST, *manifest.get("files", {})}
    for path in sorted(_files_in(place)):
        name = path.relative_to(place).as_posix()
        if name not in ours and path.name not in OF_THE_SYSTEM:
            raise BadInput(
                f"{folder}: would be replaced, but holds {name}, which is not among the files that "
                f"its {MANIFEST} lists; nothing was changed. Move it away, or name another folder"
            )


def require_owned(folder: Path, owner: str) -> dict[str, Any] | None:
    """Refuse a folder that is neither empty nor of this owner; return its manifest, if any."""
    place = real_path(folder)
    if not place.name:
        raise BadInput(f"{folder}: is the root of the file system; name a new or empty folder")
    if not place.exists():
        return None
    if not place.is_dir():
        raise BadInput(f"{folder}: a file stands where a folder is needed; name another place")
    first = next((path for path in _files_in(place) if path != place / LOCK), None)
    if first is None:  # only empty folders, which Snakemake makes for declared files
        return None
    manifest = read_manifest(place / MANIFEST) if (place / MANIFEST).is_file() else None
    owned_by = _owner_in_lock(place / LOCK)
    if manifest is not None:  # where it names no owner, its stage
        owned_by = owned_by or manifest.get("owner") or manifest["stage"]
    if owned_by is None:
        raise BadInput(
            f"{folder}: holds {first.name} and no manifest of this program's; {NAME_ANOTHER}"
        )
    if owned_by not in (owner, owner.partition(" of ")[0]):
        raise BadInput(f"{folder}: holds the {owned_by}, not the {owner}; {NAME_ANOTHER}")
    return manifest


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _owner_in_lock(lock: Path) -> str | None:
    """The owner in a lock file; None if the file is missing or has none."""
    try:
        return read_json(lock, dict[str, str], "").get("owner")
    except BadInput:
        return None
