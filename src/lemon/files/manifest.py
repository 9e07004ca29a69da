"""The manifest that every job writes last: provenance of its files, and the digest of each.

A manifest records the code (commit, digest of uncommitted changes), the settings, the inputs by
digest, the machine, the software, time and memory. `files` holds the sha256 of every file that the
job wrote, and `digest` that of the manifest itself, so that later changes are detected.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import Absent, checked, read_json
from lemon.files.storage import inside, write_json
from lemon.provenance import (
    code_state,
    device,
    file_digest,
    gpus,
    host,
    library_versions,
    peak_memory_bytes,
    resident_peak,
    threads,
    without_private_parts,
)

MANIFEST = "manifest.json"
FORMAT_VERSION = 2  # version 1 had no `digest`
LARGEST_MANIFEST = 4 * 2**20  # bytes; the manifest of a 7B model has 60 KB
REMAKE = "remove it and run the step that writes it again"
T = TypeVar("T")


def _is_a_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


class FindingEntry(TypedDict):
    """The fields read of a finding in the manifest of a figure."""

    claim: str | None
    statement: str
    measured: str
    verdict: str | None


class _Verdict(TypedDict):
    verdict: str


class OrderingEntry(TypedDict):
    """The fields read of a tested ordering in the manifest of a table."""

    claim: str | None
    published_difference: float | None
    first_runs: Annotated[list[str], Field(min_length=1)]
    second_runs: Annotated[list[str], Field(min_length=1)]
    gains: NotRequired[list[Annotated[list[str], Field(min_length=2, max_length=2)]]]
    not_tested: NotRequired[str | None]  # these four are missing in tables of earlier versions
    below_floor: NotRequired[bool]
    measures: NotRequired[dict[str, _Verdict]]


class GatesEntry(TypedDict):
    """How far the gates of a structure have settled (`lemon.learning.masks.settled`)."""

    sparsity: FiniteFloat
    target_sparsity: FiniteFloat
    smallest_kept_gate: FiniteFloat
    largest_dropped_gate: FiniteFloat


class ExportEntry(TypedDict):
    """How the gates of a pruned model were exported."""

    gates: str
    tune_loss: dict[str, FiniteFloat]


class ManifestFields(BaseModel):
    """The manifest fields that the program reads, with types; each stage may add others."""

    model_config = ConfigDict(extra="allow", strict=True)

    format_version: int = 1
    stage: str
    owner: str | None = None
    digest: str | None = None
    files: dict[str, str] = {}
    settings: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    seed: int | None = None
    code: dict[str, str | None] = {}
    wall_s: FiniteFloat = 0.0
    peak_memory_bytes: int = 0
    finished: Annotated[str, AfterValidator(_is_a_time)] | None = None
    weights: str | None = None
    tensors: dict[str, str] = {}
    tasks: dict[str, dict[str, Any]] = {}
    gates: dict[str, GatesEntry] = {}
    export: ExportEntry | None = None
    tune_loss: FiniteFloat | None = None
    findings: list[FindingEntry] = []
    comparisons: list[OrderingEntry] = []


def write_manifest(
    path: Path,
    stage: str,
    *,
    files: Iterable[Path] | Mapping[Path, str] = (),
    owner: str | None = None,
    settings: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    seed: int | None = None,
    started: float,
    **extra: Any,
) -> None:
    """Write the manifest of a finished job, as its last file.

    Args:
        path: usually `manifest.json` in the folder that the job made.
        stage: step of the workflow, e.g. "learn".
        files: the job's outputs for later stages, all in or below the manifest's folder; with
            their sha256 where these are known.
        owner: the owner of the folder, if no other job may write into it.
        settings: the resolved settings that determine the output.
        inputs: digest by name of everything that the job read.
        seed: of the job's random numbers; None if it drew none.
        started: `time.monotonic()` at the start of the job.
        extra: further top-level entries; they replace default entries of the same name.
    """
    if not isinstance(files, Mapping):
        files = {file: file_digest(file) for file in files}
    digests = {file.relative_to(path.parent).as_posix(): found for file, found in files.items()}
    content = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "owner": owner,
        "files": digests,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "settings": settings or {},
        "inputs": inputs or {},
        "seed": seed,
        "code": code_state(),
        "host": host(),
        "threads": threads(),
        "device": device(),
        **({"gpus": used} if (used := gpus()) else {}),
        "versions": {"python": platform.python_version(), **library_versions()},
        "wall_s": round(time.monotonic() - started, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_memory_children_bytes": resident_peak(resource.RUSAGE_CHILDREN),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **extra,
    }
    write_json(path, sealed(without_private_parts(json.loads(json.dumps(content, default=str)))))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; Absent if there is none, BadInput if it is damaged or not a manifest."""
    try:
        content = read_json(path, dict[str, Any], REMAKE, LARGEST_MANIFEST)
    except Absent:
        raise Absent(f"{path}: no manifest here; the step that writes it has not ended") from None
    fields = checked(content, ManifestFields, str(path), REMAKE)
    require_sealed(content, path, REMAKE, since=fields.format_version >= FORMAT_VERSION)
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The values as plain JSON values, with their digest added under `digest`."""
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return {**plain, "digest": _digest_of(plain)}


def require_sealed(content: dict[str, Any], path: Path, fix: str, *, since: bool = True) -> None:
    """BadInput, ending in `fix`, if JSON values read from `path` have changed since `sealed`.

    A missing digest is accepted unless `since` says that the format requires one.
    """
    if (since or "digest" in content) and content.get("digest") != _digest_of(content):
        raise BadInput(f"{path}: is damaged, its digest is not that of its content; {fix}")


def read_sealed(path: Path, format: int, fix: str) -> dict[str, Any]:
    """A JSON file of `sealed` values with this `format`; raises as `read_json`, ending in `fix`."""
    content = read_json(path, dict[str, Any], fix)
    if content.get("format") != format:
        raise BadInput(f"{path}: is not of this version; {fix}")
    require_sealed(content, path, fix, since=False)
    return content


def _digest_of(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder except its manifest and hidden files, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path != folder / MANIFEST
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def checked_file(path: Path, manifest: Path | None = None) -> Path:
    """Check a file against the digest in its manifest and return its path.

    Its manifest is by default `manifest.json` in its folder. Without a manifest, or if the manifest
    lists no files, there is no check. BadInput if the file is missing, damaged or not listed.
    """
    manifest = manifest or path.with_name(MANIFEST)
    if listed := listed_files(manifest):
        name = path.relative_to(manifest.parent).as_posix()
        if name not in listed:
            raise BadInput(f"{path}: is not among the files of {manifest}; remove it")
        require_digest(path, listed[name], str(manifest))
    return path


def listed_files(manifest: Path) -> dict[str, str] | None:
    """The sha256 of every file that a manifest lists, by name; None without manifest or files.

    BadInput if the manifest is damaged, or lists a file outside of its folder.
    """
    if not manifest.is_file():
        return None
    files: dict[str, str] = _once(read_manifest, manifest).get("files", {})
    for name in files:
        inside(manifest.parent, name)
    return files or None


def require_digest(path: Path, expected: str, listed_in: str) -> None:
    """BadInput if a file is missing or has another sha256 than is `listed_in` a manifest."""
    try:
        found = digest_once(path)
    except OSError:
        raise BadInput(f"{path}: missing, though {listed_in} lists it; {REMAKE}") from None
    if found != expected:
        raise damaged(path, found, expected, listed_in, REMAKE)


def damaged(path: Path | str, found: str, expected: str, by: str, fix: str) -> BadInput:
    """That a file has another sha256 than is expected, and who expects which."""
    return BadInput(f"{path}: is damaged; its sha256 is {found}, but {by} says {expected}; {fix}")


def digest_once(path: Path) -> str:
    """The sha256 of a file, computed once per process unless the file changes."""
    return _once(file_digest, path)


def _once(read: Callable[[Path], T], path: Path) -> T:
    """What `read` gives for a file, computed once per process unless the file changes."""
    state = path.stat()
    found: T = _in_state(read, path, state.st_ino, state.st_size, state.st_mtime_ns)
    return found


@cache
def _in_state(read: Callable[[Path], Any], path: Path, *state: int) -> Any:
    return read(path)
