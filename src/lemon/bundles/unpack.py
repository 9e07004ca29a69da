"""Lay the files of a bundle where the workflow's jobs would have written them."""

from __future__ import annotations

from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

from lemon.bundles.archive import read_contents
from lemon.bundles.parts import TEXT, PlannedPart, place_of, planned_parts
from lemon.bundles.taken import Scope, Taken, index_of, taken
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import digest_once, read_manifest
from lemon.files.ownership import (
    own_folder,
    owner_of_made,
    owner_of_prepared,
    owner_of_run,
    require_owned,
    require_replaceable,
)
from lemon.files.storage import atomic_file


def unpack(
    project: Project, bundle: Path, scope: Scope, folder: Path, entry: str | None = None
) -> tuple[Taken, int]:
    """Write what a scope takes of a bundle into `runs/` and `data/` of a working folder.

    `entry` is the table or figure that is then made; None if it may be any. All is checked before
    anything is written, and what lies there already stays as it is. Gives what was taken, and how
    many files were written. BadInput if the bundle is damaged, of another preset, or names a file
    outside of the preset's folders, or other content lies there.
    """
    index = index_of(project, bundle)
    for path in index.files:
        try:
            place_of(project, folder, path)
        except BadInput as error:
            raise BadInput(f"{bundle}: nothing was written; {error}") from None
    contents = read_contents(bundle, index)
    found, planned = taken(project, bundle, index, scope, entry), planned_parts(project)
    places = {p: place_of(project, folder, p) for files in found.files.values() for p in files}
    there = {path for path, place in places.items() if place.exists()}
    missing = {name: sorted({*files} - there) for name, files in found.files.items()}
    for name, files in found.files.items():
        for path in there.intersection(files):
            if not _same(planned[name], path, places[path], contents[path]):
                raise BadInput(
                    f"{places[path]}: differs from the one in {bundle}; nothing was written. Move "
                    f"{places[path].parent} away, or leave FROM out to go on with what lies there"
                )
    owners = {name: _owner(project, folder, planned[name]) for name in missing if missing[name]}
    for name, owner in owners.items():
        own = place_of(project, folder, planned[name].manifest).parent
        if name == TEXT:
            require_replaceable(own, owner_of_prepared("text", project.preset_name))
        elif owner is not None:
            require_owned(own, owner)
    for name, owner in owners.items():
        part = planned[name]
        own = place_of(project, folder, part.manifest).parent
        with own_folder(own, owner) if owner is not None else nullcontext():
            for path in sorted(missing[name], key=lambda path: path == part.manifest):
                with atomic_file(places[path]) as temporary:
                    temporary.write_bytes(contents[path])
    return found, sum(map(len, missing.values()))


def _same(part: PlannedPart, path: str, place: Path, content: bytes) -> bool:
    """Whether a file is the bundle's; text prepared at another time is, if its files are."""
    if part.kind == "text" and path == part.manifest:
        theirs = parse_json(content, dict[str, Any], path, "get the bundle again")
        return bool(read_manifest(place).get("files") == theirs.get("files"))
    return place.is_file() and digest_once(place) == sha256(content).hexdigest()


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
        return owner_of_made("evaluate", data / prepared if prepared else out.parent / "model", out)
    return None
