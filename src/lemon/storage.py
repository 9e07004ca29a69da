"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lemon.errors import BadInput, LemonError, WorkFailed


def storage_error(error: OSError, path: Path) -> LemonError:
    """Say in one message what the system's refusal means for `path`, and the mend."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInput(
            f"{path}: no permission to write here; choose another place or change its owner"
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return BadInput(f"{path}: a file stands where a folder is needed; name another place")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkFailed(
            f"{path}: the disk is full; free some space and run the same command again, "
            "nothing half-written was left"
        )
    return WorkFailed(f"{path}: {error.strerror or error}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block succeeds.

    Raises:
        BadInput: the folder may not be written.
        WorkFailed: the disk is full, or another failure of the system.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it replaces `path` when the block succeeds.

    Raises:
        BadInput: the parent may not be written.
        WorkFailed: the disk is full, or another failure of the system.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep a second process from writing into `folder` at the same time.

    The kernel drops the lock when the process ends, however it ends.

    Raises:
        BadInput: another process holds the folder, or it may not be written.
        WorkFailed: another failure of the system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".in-use", os.O_CREAT | os.O_WRONLY)
    except OSError as error:
        raise storage_error(error, folder) from error
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(
            f"{folder}: another process writes here, perhaps one that was left running; end it "
            "or wait for it, then run the same command again"
        ) from None


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
