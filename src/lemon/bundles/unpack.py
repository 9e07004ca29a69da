"""Lay the files of a bundle where the workflow's jobs would have written them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from itertools import filterfalse
from pathlib import Path
from typing import Any

from lemon.bundles.archive import read_contents
from lemon.bundles.parts import PlannedPart, place_of, planned_parts
from lemon.bundles.taken import Scope, Taken, index_of, taken
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import digest_once, read_manifest
from lemon.files.ownership import (
    own_folder,
    owner_of_outcomes,
    owner_of_prepared,
    owner_of_run,
    require_owned,
    require_replaceable,
)
from lemon.files.storage import atomic_file


@dataclass(frozen=True)
class Unpacked:
    """What was taken, and how many of its files were written; the others lay there already."""

    taken: Taken
    written: int


def unpack(
    project: Project, bundle: Path, scope: Scope, folder: Path, entry: str | None = None
) -> Unpacked:
    """Write what a scope takes of a bundle into `runs/` and `data/` of a working folder.

    `entry` is the table or figure that is then made; None if it may be any.

    All is checked before anything is written. What lies there already stays as it is.

    Raises:
        BadInput: the bundle is damaged, of another preset, or names a file outside of the preset's
            folders; or a run with other content lies there.
        WorkFailed: a file can't be written.
    """
    index = index_of(project, bundle)
    for path in index.files:
        try:
            place_of(project, folder, path)
        except BadInput as error:
            raise BadInput(f"{bundle}: nothing was written; {error}") from None
    contents = read_contents(bundle, index)
    found, planned = taken(project, bundle, index, scope, entry), planned_parts(project)
    places = {
        path: place_of(project, folder, path) for files in found.files.values() for path in files
    }
    there = {path for path, place in places.items() if place.exists()}
    missing = {name: [*filterfalse(there.__contains__, found.files[name])] for name in found.files}
    for name, files in found.files.items():
        for path in there.intersection(files):
            if not _same(planned[name], path, places[path], contents[path]):
                raise BadInput(
                    f"{places[path]}: differs from the one in {bundle}; nothing was written. Move "
                    f"{places[path].parent} away, or leave FROM out to go on with what lies there"
                )
    for name, paths in missing.items():
        if paths:
            _require_own(project, folder, planned[name])
    for name, paths in missing.items():
        if paths:
            with _own(project, folder, planned[name]):
                for path in sorted(paths, key=lambda path: path == planned[name].manifest):
                    with atomic_file(places[path]) as temporary:
                        temporary.write_bytes(contents[path])
    return Unpacked(found, sum(map(len, missing.values())))


def _same(part: PlannedPart, path: str, place: Path, content: bytes) -> bool:
    """Whether a file is the bundle's; text prepared at another time is, if its files are."""
    if part.kind == "text" and path == part.manifest:
        theirs = parse_json(content, dict[str, Any], path, "get the bundle again")
        return bool(read_manifest(place).get("files") == theirs.get("files"))
    return place.is_file() and digest_once(place) == sha256(content).hexdigest()


def _require_own(project: Project, folder: Path, part: PlannedPart) -> None:
    """Refuse to write a part into a folder of another owner, or with foreign files."""
    own = place_of(project, folder, part.manifest).parent
    if part.kind == "text":
        require_replaceable(own, owner_of_prepared("text", project.preset_name))
    elif owner := _owner(project, folder, part):
        require_owned(own, owner)


def _owner(project: Project, folder: Path, part: PlannedPart) -> str | None:
    """The owner of a part's folder; None if it has none: maps and text lie in shared folders."""
    if part.run is None:
        return None
    out = place_of(project, folder, part.manifest).parent
    if part.kind == "operators":
        return owner_of_run(project.preset_name, part.run.id)
    if part.kind == "outcomes":
        prepared = part.run.method.prepared
        data = folder / "data" / project.preset_name
        return owner_of_outcomes(data / prepared if prepared else out.parent / "model", out)
    return None


def _own(project: Project, folder: Path, part: PlannedPart) -> AbstractContextManager[None]:
    """Keep other writers out of a part's folder, if it has an owner."""
    owner = _owner(project, folder, part)
    if owner is None:
        return nullcontext()
    return own_folder(place_of(project, folder, part.manifest).parent, owner)
