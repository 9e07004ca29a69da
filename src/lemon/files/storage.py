"""Files and folders appear whole or not at all: written beside their place, then renamed.

What a killed process left beside its place is removed by the next one that writes there. A process
holds a lock on what it is writing, which the kernel drops when it ends, however it ends.
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
MOST_LOST = 1000  # races for a folder that others remove; more are a link that leads nowhere
SILENT_WAIT_S, LOOK_EVERY_S = 1.0, 0.1  # while another process holds a lock
LONGEST_PATH, LONGEST_NAME = 1000, 255  # characters below a folder, and bytes of a part of them
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_STEM = 200  # bytes of a file's name inside that of its temporary file; 255 is the end


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
    """Say in one message what the system's refusal means for `path`, and how to fix it."""
    for numbers, kind, words in REFUSALS:
        if error.errno in numbers:
            return kind(f"{path}: {words}")
    return WorkFailed(f"{path}: {error.strerror or error}")


@contextmanager
def refusals_told(path: Path) -> Iterator[None]:
    """Let an error of the system in the block become one message about `path`.

    Libraries in Rust (safetensors, tokenizers) put the system's refusal into words alone.
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
    """The path of a file inside `folder` whose name comes from a file or a server.

    Args:
        folder: that the file lies in.
        name: of the file, with `/` between the folders.
        links: whether a link in the folder may lead out of it, as for what is only read.

    Raises:
        BadInput: the name is empty or absolute, leaves the folder, or holds a character that no
            name of ours has.
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
    """The path without links and `..`, also where nothing is there; a link to itself is no error.

    For `new/..` that is the folder that the user is in, whether or not it holds `new`.
    """
    return Path(os.path.realpath(path))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block succeeds.

    The block may open the temporary file as often as it likes, but must not replace it.

    Raises:
        BadInput: the folder may not be written.
        WorkFailed: the disk is full, or another failure of the system.
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
    """How the names of the temporary files for a name begin."""
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

    `path` may be a link to the folder that is replaced. Its old content is there until the new one
    is complete. Callers check before that it may be replaced (`lemon.files.ownership`).

    Raises:
        BadInput: the parent may not be written, or another process makes the same folder.
        WorkFailed: the disk is full, or another failure of the system.
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
                    os.replace(replaced, path)  # a kill between the two renames below
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
        folder: made where it isn't there.
        shown: the path that messages name, where that is not the folder.
        wait_s: seconds to wait for the other process; after the first one a line says so.

    Raises:
        BadInput: another process holds the folder, or it may not be written.
        WorkFailed: another failure of the system.
    """
    with held(folder / LOCK, shown or folder, wait_s):
        yield


@contextmanager
def held(lock: Path, shown: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, whose folder is made where it isn't there; otherwise as `sole_writer`."""
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
            continue  # the other process has just removed the folder
        if try_lock(file):
            # The process that held it may have removed the file, and a third made a new one.
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
    """Lock an open file unless another process has locked it; the kernel unlocks it at its end."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write plain values as YAML, whole or not at all."""
    from ruamel.yaml import YAML

    with atomic_file(path) as temporary:
        YAML().dump(value, temporary)
