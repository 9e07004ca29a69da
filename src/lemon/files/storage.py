"""Write files and folders atomically: under a temporary name beside the target, then renamed.

A writing process holds a lock, which the kernel releases when the process ends, even if it is
killed. Temporary files left by a killed process are removed by the next process that writes there.

Whatever writes raises BadInput where it may not write, and WorkFailed if the disk is full or the
system fails otherwise.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from lemon.errors import BadInput, LemonError, WorkFailed

LOCK = ".in-use"  # in a folder that several commands write into
MOST_LOST = 1000  # retries while others remove the folder; beyond, a dangling link is assumed
SILENT_WAIT_S, LOOK_EVERY_S = 1.0, 0.1  # while another process holds a lock
LONGEST_PATH, LONGEST_NAME = 1000, 255  # characters of a relative path; bytes of a part
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_STEM = 200  # bytes of a file name in its temporary file's name, whose limit is 255


REFUSALS: tuple[tuple[set[int], type[LemonError], str], ...] = (
    (
        {errno.EACCES, errno.EPERM, errno.EROFS},
        BadInput,
        "no permission to write here; choose another place or change its owner",
    ),
    (
        {errno.ENOTDIR, errno.EEXIST, errno.EISDIR},
        BadInput,
        "a file stands where a folder is needed, or a folder where a file is; name another place",
    ),
    (
        {errno.ELOOP},
        BadInput,
        "a link is in the way, or one that leads to itself; remove it, or name another place",
    ),
    (
        {errno.EFBIG},
        WorkFailed,
        "files may not grow that large here; raise the limit (`ulimit -f`), or take a place on "
        "another file system, and run the same command again",
    ),
    (
        {errno.ENOSPC, errno.EDQUOT},
        WorkFailed,
        "the disk is full; free some space and run the same command again, nothing half-written "
        "was left",
    ),
)


def storage_error(error: OSError, path: Path) -> LemonError:
    """The error that explains what an OSError means for `path` and how to fix it."""
    for numbers, kind, words in REFUSALS:
        if error.errno in numbers:
            return kind(f"{path}: {words}")
    return WorkFailed(f"{path}: {error.strerror or error}")


@contextmanager
def refusals_told(path: Path) -> Iterator[None]:
    """Turn system errors in the block into one error about `path`.

    Rust libraries (safetensors, tokenizers) raise no OSError but have its number in their message.
    """
    try:
        yield
    except LemonError:
        raise
    except OSError as error:
        raise storage_error(error, path) from error
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        told = OSError(int(found[1]), os.strerror(int(found[1])))
        raise storage_error(told, path) from error


def inside(folder: Path, name: str, *, links: bool = False) -> Path:
    """The path of a file in `folder` whose name comes from an untrusted file or server.

    `name` is a relative path with `/` as the separator. With `links` a link may lead out of the
    folder, as allowed for files that are only read. BadInput if the name is empty, absolute or too
    long, leaves the folder, or holds a backslash or an unprintable character.
    """
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and len(name) <= LONGEST_PATH
    plain = plain and all(len(part.encode()) <= LONGEST_NAME for part in parts)
    if not (plain and parts) or ".." in parts or name.startswith("/"):
        raise BadInput(
            f"{folder}: {name[:100]!r} is no name of a file inside this folder; take it out"
        )
    path = folder / name
    if not links and not real_path(path).is_relative_to(real_path(folder)):
        raise BadInput(f"{path}: leads out of {folder} by a link; put the file itself there")
    return path


def real_path(path: Path) -> Path:
    """The path without links and `..`; it need not exist, and a link to itself is no error.

    `new/..` is the current folder, whether or not `new` exists.
    """
    return Path(os.path.realpath(path))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block succeeds.

    The block may open the temporary file several times, but must not replace it.
    """
    stem = _hidden(path.name)
    temporary = path.with_name(f"{stem}.{secrets.token_hex(4)}.partial")
    file = None
    try:
        with refusals_told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f"{glob.escape(stem)}.*.partial"):
                _remove_if_left(left)
            file = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            try_lock(file)
            yield temporary
            os.fsync(file)
            os.replace(temporary, path)
    finally:
        if file is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            os.close(file)


def _hidden(name: str) -> str:
    """The start of the temporary files' names for a file or folder name."""
    stem = os.fsencode(name)
    return f".{name}" if len(stem) <= LONGEST_STEM else f".{hashlib.sha256(stem).hexdigest()}"


def _remove_if_left(temporary: Path) -> None:
    """Remove the temporary file of a process that has ended."""
    with suppress(OSError):
        file = os.open(temporary, os.O_WRONLY)
        try:
            if try_lock(file):
                temporary.unlink()
        finally:
            os.close(file)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it replaces `path` when the block succeeds.

    `path` may be a link to the folder. The old content stays until the new content is complete.
    Callers must first check that `path` may be replaced (`lemon.files.ownership`). BadInput if
    another process makes the same folder.
    """
    path = real_path(path)
    holder = path.with_name(f"{_hidden(path.name)}.partial")
    content, replaced = holder / "content", holder / "replaced"
    ours = (LOCK, content.name, replaced.name)
    with refusals_told(path), suppress(FileNotFoundError):  # another process may be removing it
        for found in sorted(holder.iterdir()):
            if found.name not in ours and not found.name.startswith(f".{content.name}."):
                raise BadInput(
                    f"{holder}: is needed for {path} and holds {found.name}; move it away"
                )
    with sole_writer(holder, shown=path):
        try:
            with refusals_told(path):
                if replaced.exists() and not path.exists():
                    os.replace(replaced, path)  # killed between the two renames below
                shutil.rmtree(content, ignore_errors=True)
                content.mkdir()
                yield content
                if path.exists():
                    shutil.rmtree(replaced, ignore_errors=True)
                    os.replace(path, replaced)
                os.replace(content, path)
        finally:
            if path.exists() or not replaced.exists():
                shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def sole_writer(folder: Path, *, shown: Path | None = None, wait_s: float = 0.0) -> Iterator[None]:
    """Keep a second process from writing into `folder` at the same time.

    Args:
        folder: created if missing.
        shown: the path named in messages; by default the folder.
        wait_s: seconds to wait for the other process; after one second a line is printed. BadInput
            if it holds the folder longer.
    """
    with held(folder / LOCK, shown or folder, wait_s):
        yield


@contextmanager
def held(lock: Path, shown: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, whose folder is created if missing; otherwise as `sole_writer`."""
    try:
        file = _locked(lock, shown, wait_s)
    except OSError as error:
        raise storage_error(error, shown) from error
    try:
        yield
    finally:
        os.close(file)


def _locked(lock: Path, shown: Path, wait_s: float) -> int:
    """The descriptor of a lock file that this process now holds."""
    started, announced, lost = time.monotonic(), False, 0
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        except (FileNotFoundError, FileExistsError):
            lost += 1
            if lost > MOST_LOST:
                raise
            continue  # another process has just removed the folder
        if try_lock(file):
            # The previous holder may have removed the file, and a third process made a new one.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), lock.stat()):
                    return file
            os.close(file)
            continue
        os.close(file)
        waited = time.monotonic() - started
        if waited >= wait_s:
            raise BadInput(
                f"{shown}: another process writes here, perhaps one that was left running; end it "
                "or wait for it, then run the same command again"
            )
        if waited > SILENT_WAIT_S and not announced:
            print(f"lemon: waiting for another process that writes {shown}", file=sys.stderr)
            announced = True
        time.sleep(LOOK_EVERY_S)


def try_lock(file: int) -> bool:
    """Lock an open file; False if another process holds it. The kernel unlocks it on close."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write plain values as YAML, atomically."""
    from ruamel.yaml import YAML

    with atomic_file(path) as temporary:
        YAML().dump(value, temporary)
