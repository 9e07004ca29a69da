"""Pack what a preset's finished runs leave, without weights, into one file."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from lemon.bundles.archive import Part, write_archive
from lemon.bundles.parts import (
    TEXT_FILES,
    PlannedPart,
    part_of_run,
    place_of,
    planned_parts,
)
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.errors import BadInput
from lemon.files.manifest import checked_file, read_manifest


def pack(
    project: Project, folder: Path, out: Path, seeds: int | None = None
) -> tuple[dict[str, Part], dict[str, str]]:
    """Write a bundle of all finished runs that were made with the preset's settings.

    Gives its parts by name, and why it does not hold other finished parts, by name.
    They are read from the workflow's working folder, with `runs/` and `data/`. Equal runs give a
    file of equal bytes. `seeds` is how many runs of a learned row its tables show, by default as
    many as the project's. BadInput if a file of a finished run is damaged or missing, or none is
    finished.
    """
    parts: dict[str, Part] = {}
    contents: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    scored: dict[str, Any] = {}  # the weights of the first scores in each folder of a model
    for name, planned in planned_parts(project).items():
        place = place_of(project, folder, planned.manifest)
        if not place.is_file():
            continue
        manifest = read_manifest(place)
        why = _other_settings(project, planned, manifest) or _unmade_run(planned, parts)
        if planned.suite is not None and not why:
            weights = manifest.get("inputs", {}).get("weights")
            if scored.setdefault(name.rpartition("/")[0], weights) != weights:
                why = "was scored with other weights than the run's other scores; score both again"
        if why:
            refused[name] = why
            continue
        found = dict(_files(planned, place, manifest))
        contents |= found
        digests = {path: sha256(content).hexdigest() for path, content in found.items()}
        parts[name] = Part(settings=planned.settings, files=digests, left_out=planned.left_out)
    if not any(name.startswith("runs/") for name in parts):
        raise BadInput(
            f"{folder / 'runs' / project.preset_name}: holds no finished run with the settings "
            "that the preset has now, so there is nothing to pack; `make table3` makes some"
        )
    write_archive(out, project.preset_name, seeds or project.preset.seeds, parts, contents)
    return parts, refused


def _files(
    planned: PlannedPart, place: Path, manifest: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    """The files of a part that a bundle holds, by path: those that its manifest lists, and it."""
    folder, left_out = planned.manifest.rpartition("/")[0], tuple(planned.left_out)
    for name in sorted(manifest.get("files", {})):
        path = f"{folder}/{name}"
        if planned.kind == "text" and name not in TEXT_FILES:
            continue
        if path.startswith(left_out):
            continue
        yield path, checked_file(place.parent / name, place).read_bytes()
    yield planned.manifest, place.read_bytes()


def _other_settings(project: Project, planned: PlannedPart, manifest: dict[str, Any]) -> str | None:
    """Why a part was not made with the preset's settings; None if it was.

    What a manifest does not record is taken to be right: the workflow makes it again otherwise.
    """
    run, made = planned.run, manifest.get("settings", {})
    if planned.kind == "trial":
        key = manifest.get("key")  # the first trials recorded none
        same = key is None or sha256(key.encode()).hexdigest() == planned.settings
        return None if same else "was tried with other settings than the preset has now"
    if planned.kind == "operators":
        assert run is not None
        if run.method.learned:
            same = manifest.get("key") == stage_params(project, run.method.stage, run.id)
            return None if same else "was trained with other settings than the preset has now"
        now = {name: project.resolved(run.id).get(name) for name in ("run", "target_shape")}
    elif planned.suite is not None:
        suite, evaluation = planned.suite, project.preset.evaluation
        now = {
            "tasks": list(suite.tasks),
            "limit": suite.limit,
            "limits": dict(suite.limits),
            "fewshot": evaluation.fewshot if suite.has_fewshot else "fixed",
            "batch_size": evaluation.batch_size,
            "dtype": project.preset.compute.dtype,
        }
    else:
        return None
    other = [name for name, value in now.items() if made.get(name, value) != value]
    return f"was made with another {', '.join(other)} than the preset has now" if other else None


def _unmade_run(planned: PlannedPart, parts: dict[str, Part]) -> str | None:
    """Why scores and maps of a run are not packed: its operators are not."""
    run = planned.run
    if run is None or planned.kind == "operators" or not run.method.needs_target:
        return None
    missing = part_of_run(run) not in parts
    return "belongs to a run that is not finished or not packed" if missing else None
