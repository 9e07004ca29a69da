"""The manifest that every job writes last: the origin of its files, and the digest of each.

A manifest names the code (commit, digest of uncommitted changes), the settings, the inputs by
digest, the machine, the software, and what the job took. `files` holds the sha256 of every file
that the job wrote, and `digest` that of the manifest itself, so that whoever reads a file later
sees whether it is still the one that was written.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import Absent, checked, read_json
from lemon.files.storage import inside, write_json
from lemon.provenance import (
    code_state,
    device,
    file_digest,
    host,
    library_versions,
    peak_memory_bytes,
    resident_peak,
    threads,
    without_private_parts,
)

MANIFEST = "manifest.json"
FORMAT_VERSION = 2  # 1 had no digest of its own
LARGEST_MANIFEST = 4 * 2**20  # bytes; that of a model of 7B has 60 KB
REMAKE = "remove it and run the step that writes it again"


def _is_a_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


class FindingEntry(TypedDict):
    """A finding in the manifest of a figure: the fields that are read."""

    claim: str | None
    statement: str
    measured: str
    verdict: str | None


class VerdictEntry(TypedDict):
    """The verdict of a part of an ordering."""

    verdict: str


class OrderingEntry(TypedDict):
    """A tested ordering in the manifest of a table: the fields that are read."""

    claim: str | None
    verdict: str
    published_difference: float | None
    first_runs: Annotated[list[str], Field(min_length=1)]
    second_runs: Annotated[list[str], Field(min_length=1)]
    perplexity: VerdictEntry | None


class ManifestFields(BaseModel):
    """The types of what the program reads in manifests; each stage adds fields of its own."""

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
    findings: list[FindingEntry] = []
    comparisons: list[OrderingEntry] = []


def write_manifest(
    path: Path,
    stage: str,
    *,
    files: Iterable[Path] = (),
    owner: str | None = None,
    settings: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    seed: int | None = None,
    started: float,
    **extra: Any,
) -> None:
    """Write the manifest of a finished job; the last thing that a job does.

    Args:
        path: usually `manifest.json` in the folder that the job made.
        stage: which step of the flow this was, e.g. "learn".
        files: what the job wrote for later stages, all in the manifest's folder or below it.
        owner: what the folder belongs to, where nothing else may be written into it.
        settings: what decided the output, resolved.
        inputs: digest by name of everything that the job read.
        seed: of the job's random numbers; None where it drew none.
        started: `time.monotonic()` at the start of the job; wall time is counted from it.
        extra: further entries, on the top level; a name used here replaces the default entry.

    Raises:
        BadInput, WorkFailed: the file can't be written.
    """
    digests = {file.relative_to(path.parent).as_posix(): file_digest(file) for file in files}
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
        "versions": {"python": platform.python_version(), **library_versions()},
        "wall_s": round(time.monotonic() - started, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_memory_children_bytes": resident_peak(resource.RUSAGE_CHILDREN),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **extra,
    }
    write_json(path, sealed(without_private_parts(json.loads(json.dumps(content, default=str)))))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        Absent: there is none.
        BadInput: it is damaged, or no manifest.
    """
    try:
        content = read_json(path, dict[str, Any], REMAKE, LARGEST_MANIFEST)
    except Absent:
        raise Absent(f"{path}: no manifest here; the step that writes it has not ended") from None
    fields = checked(content, ManifestFields, str(path), REMAKE)
    require_sealed(content, path, REMAKE, since=fields.format_version >= FORMAT_VERSION)
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The values as JSON has them, with the digest of all the others under `digest`."""
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return {**plain, "digest": _digest_of(plain)}


def require_sealed(content: dict[str, Any], path: Path, fix: str, *, since: bool = True) -> None:
    """Refuse JSON values that have changed since `sealed`.

    Args:
        content: what was read.
        path: where it was read.
        fix: ends the message.
        since: whether values of this format carry a digest; those of older ones do not.

    Raises:
        BadInput: the digest is not that of the other values, or is missing.
    """
    if (since or "digest" in content) and content.get("digest") != _digest_of(content):
        raise BadInput(f"{path}: is damaged, its digest is not that of its content; {fix}")


def _digest_of(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder but its manifest and what is hidden, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path != folder / MANIFEST:
            found.append(path)
    return found


def checked_file(path: Path, manifest: Path | None = None) -> Path:
    """The path of a file, after checking that it is the one that its manifest lists.

    Files of a folder without a manifest, or of a manifest of format 1, are taken as they are.

    Args:
        path: the file.
        manifest: that lists it; `manifest.json` in its folder if not given.

    Raises:
        BadInput: it is missing though listed, damaged, or in a listing folder without being listed.
    """
    manifest = path.with_name(MANIFEST) if manifest is None else manifest
    listed = listed_files(manifest)
    if listed is None:
        return path
    name = path.relative_to(manifest.parent).as_posix()
    if name not in listed:
        raise BadInput(f"{path}: is not among the files of {manifest}; remove it")
    require_digest(path, listed[name], str(manifest))
    return path


def listed_files(manifest: Path) -> dict[str, str] | None:
    """The sha256 of every file that a manifest lists, by name; None where it lists none.

    Raises:
        BadInput: the manifest is damaged, or lists a file outside of its folder.
    """
    if not manifest.is_file():
        return None
    files: dict[str, str] = _read_once(manifest, *_state(manifest)).get("files", {})
    for name in files:
        inside(manifest.parent, name)
    return files or None


def require_digest(path: Path, expected: str, listed_in: str) -> None:
    """Refuse a file that is not there, or not the one whose sha256 is given.

    Raises:
        BadInput: naming the file, both digests and where the expected one stands.
    """
    try:
        found = digest_once(path)
    except OSError:
        raise BadInput(f"{path}: missing, though {listed_in} lists it; {REMAKE}") from None
    if found != expected:
        raise BadInput(
            f"{path}: is damaged; its sha256 is {found}, but {listed_in} says {expected}; {REMAKE}"
        )


def digest_once(path: Path) -> str:
    """The sha256 of a file, computed once in a process as long as the file stays the same."""
    return _digest_in_state(path, *_state(path))


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file does: inode, size, time."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@cache
def _read_once(path: Path, *state: int) -> dict[str, Any]:
    return read_manifest(path)


@cache
def _digest_in_state(path: Path, *state: int) -> str:
    return file_digest(path)
