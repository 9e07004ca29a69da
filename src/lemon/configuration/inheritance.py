"""Merge a preset file with the preset that it is based on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lemon.configuration.yaml_files import (
    Document,
    Place,
    Problem,
    known_entry,
    preset_files,
    read_yaml,
)
from lemon.errors import BadInput
from lemon.files.names import name_fault, path_fault

# Replaced as a whole: a model; the mixture, whose weights are shares of one total; and each entry
# of the rates, which are tuned together.
REPLACED: set[Place] = {("source",), ("second_size",), ("text", "domains"), ("rates", "*")}


def preset_document(
    path: Path, config_dir: Path, problems: list[Problem], children: tuple[Path, ...] = ()
) -> Document | None:
    """The values of a preset file merged over those of its base.

    Blocks are merged key by key; any other value replaces the base's. `children` are the files that
    are based on this one. None if a file can't be read or the base is not usable, which becomes a
    problem.
    """
    own = read_yaml(path, problems)
    named = own.value.get("base") if own and isinstance(own.value, dict) else None
    if own is None or not isinstance(named, str):  # a wrong type is reported later
        return own
    try:
        base_path = preset_path(named, config_dir)
        chain = (*children, path)
        if any(base_path.samefile(child) for child in chain):
            raise BadInput(f"{named} is based on this preset; a base must not be circular")
    except BadInput as error:
        problems.append(own.problem(("base",), str(error)))
        return None
    base = preset_document(base_path, config_dir, problems, chain)
    return _laid_over(base, own) if base is not None else None


def preset_path(preset: str | Path, config_dir: Path) -> Path:
    """The file of a preset given by name or by path; BadInput if it isn't there or isn't legal."""
    given = str(preset)
    if given.endswith((".yaml", ".yml")):
        path = Path(preset)
        if fault := path_fault(given):
            raise BadInput(f"the preset's path {fault}")
        _require_name(path.stem)
        if not path.is_file():
            raise BadInput(f"{path}: no such preset file")
        return path
    _require_name(given)
    folder = config_dir / "presets"
    files = {path.stem: path for path in preset_files(config_dir, [])}
    if not files:
        raise BadInput(f"{folder}: no presets here; run in the repository or give --config DIR")
    return known_entry(files, given, f"{folder}: no preset")


def _require_name(preset: str) -> None:
    if fault := name_fault(preset):
        raise BadInput(f"the preset's name {fault}")


def _laid_over(base: Document, own: Document) -> Document:
    origins = dict(own.origins)

    def merged(theirs: Any, ours: Any, place: Place) -> Any:
        whole = place in REPLACED or (*place[:-1], "*") in REPLACED
        if not isinstance(theirs, dict) or not isinstance(ours, dict) or whole:
            return ours
        for at, origin in base.origins.items():
            if at[: len(place)] == place != at and at[len(place)] not in ours:
                origins[at] = origin
        inside = {
            key: merged(theirs[key], value, (*place, key)) if key in theirs else value
            for key, value in ours.items()
        }
        return theirs | inside

    return Document(own.path, merged(base.value, own.value, ()), origins)
