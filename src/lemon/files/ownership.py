"""Whose folder it is: a command writes into its own folder or an empty one, and into no other.

A folder that is replaced as a whole says in its manifest what it belongs to, and which files are
the program's. A folder that a command writes into bit by bit says it from the start, in the file
by which a second writer is kept out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, read_manifest
from lemon.files.storage import LOCK, atomic_folder, real_path, sole_writer, storage_error

OF_THE_SYSTEM = (".DS_Store",)  # that a file browser leaves wherever it is
NAME_ANOTHER = "nothing was changed; name a new or empty folder"


def owner_of_run(preset: str, run: str) -> str:
    """What the folder of a run belongs to."""
    return f"run {run} of preset {preset}"


def owner_of_outcomes(model: Path, out: Path) -> str:
    """What a folder of outcomes belongs to: a model, as seen from the folder."""
    return f"evaluate of {os.path.relpath(real_path(model), real_path(out))}"


def owner_of_fused(operators: Path, out: Path) -> str:
    """What the folder of a fused model belongs to: operators, as seen from the folder."""
    return f"fuse of {os.path.relpath(real_path(operators), real_path(out))}"


def owner_of_prepared(stage: str, preset: str) -> str:
    """What a folder of `lemon prepare` belongs to."""
    return f"{stage} of preset {preset}"


@contextmanager
def own_folder(folder: Path, owner: str) -> Iterator[None]:
    """Write into a folder bit by bit, as the only process that does.

    Args:
        folder: made where it isn't there.
        owner: what it belongs to from now on.

    Raises:
        BadInput: it belongs to something else or holds files that are not ours, which is seen
            before anything is written; or another process writes there.
    """
    _require(folder, owner)
    with sole_writer(folder):
        _require(folder, owner)  # another process may have been first
        if _owner_in_lock(folder / LOCK) != owner:
            _write_owner(folder / LOCK, owner)
        yield


@contextmanager
def replaced_folder(folder: Path, owner: str) -> Iterator[Path]:
    """Give an empty temporary folder that takes the place of `folder` when the block succeeds.

    The block writes a manifest with this owner and every file that it leaves.

    Raises:
        BadInput: `folder` belongs to something else, or holds a file that its manifest does not
            list.
        WorkFailed: the disk is full, or another failure of the system.
    """
    require_replaceable(folder, owner)
    with atomic_folder(folder) as temporary:
        yield temporary
        require_replaceable(folder, owner)  # what came to lie there in the meantime


def require_replaceable(folder: Path, owner: str) -> None:
    """Refuse a folder that `replaced_folder` would refuse, before any work is done.

    Raises:
        BadInput: as `replaced_folder`.
    """
    manifest, place = _require(folder, owner) or {}, real_path(folder)
    listed = manifest.get("files", {})
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        is_file = path.is_symlink() or not path.is_dir()
        if is_file and name not in (MANIFEST, *listed) and path.name not in OF_THE_SYSTEM:
            raise BadInput(
                f"{folder}: would be replaced, but holds {name}, which is not among the files that "
                f"its {MANIFEST} lists; nothing was changed. Move it away, or name another folder"
            )


def _require(folder: Path, owner: str) -> dict[str, Any] | None:
    """Refuse a folder that neither is empty nor belongs to `owner`; gives its manifest, if any."""
    place = real_path(folder)
    if not place.name:
        raise BadInput(f"{folder}: is the root of the file system; name a new or empty folder")
    if not place.exists():
        return None
    if not place.is_dir():
        raise BadInput(f"{folder}: a file stands where a folder is needed; name another place")
    found = (path for path in place.rglob("*") if path.is_symlink() or not path.is_dir())
    first = next((path for path in found if path != place / LOCK), None)
    if first is None:  # empty folders may lie in it, as Snakemake makes them for declared files
        return None
    manifest = read_manifest(place / MANIFEST) if (place / MANIFEST).is_file() else None
    owned_by = _owner_in_lock(place / LOCK) or (_owner_in(manifest) if manifest else None)
    if owned_by is None:
        raise BadInput(
            f"{folder}: holds {first.name} and no manifest of this program's; {NAME_ANOTHER}"
        )
    if owned_by not in (owner, owner.partition(" of ")[0]):
        raise BadInput(f"{folder}: holds the {owned_by}, not the {owner}; {NAME_ANOTHER}")
    return manifest


def _write_owner(lock: Path, owner: str) -> None:
    """Write down the owner; in place, since it is this file that is locked."""
    try:
        lock.write_text(json.dumps({"owner": owner}) + "\n", encoding="utf-8")
    except OSError as error:
        raise storage_error(error, lock) from error


class _LockContent(TypedDict):
    owner: str


def _owner_in_lock(lock: Path) -> str | None:
    """What the file of a writer says; None where there is none, or one that says nothing."""
    try:
        return read_json(lock, _LockContent, "")["owner"]
    except BadInput:
        return None


def _owner_in(manifest: dict[str, Any]) -> str:
    """What a manifest says that its folder belongs to; of older ones often the stage alone."""
    stage, settings = str(manifest["stage"]), manifest.get("settings", {})
    if owner := manifest.get("owner"):
        return str(owner)
    if stage in ("build", "learn"):
        run = settings.get("run")
        id = run.get("id") if isinstance(run, dict) else None
        return owner_of_run(settings.get("preset", "no name"), id or "without an id")
    return stage
