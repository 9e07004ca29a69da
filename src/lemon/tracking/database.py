"""The SQLite file of MLflow on this machine: made whole or not at all, by one process at a time.

MLflow makes its tables in many steps and can't go on where a kill or a full disk stopped it. So
this is done in a folder beside the database, which is then renamed into its place.
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lemon.errors import WorkFailed
from lemon.files.storage import held

SCHEMA, RUN = "SELECT version_num FROM alembic_version", "SELECT 1 FROM runs"
FIX = "move it away, and the next call fills a new one from the files"
SIDE_FILES = ("-journal", "-wal", "-shm")  # what SQLite keeps beside a database
LONGEST_WAIT_S = 120.0

Opening = Callable[[Path], None]  # has MLflow make or complete the tables of a file, and close it


@contextmanager
def database_ready(database: Path, opening: Opening, *, schema: str, ours: bool) -> Iterator[None]:
    """For the block, have a database that MLflow opens without changing a table, if one can be had.

    A missing file is made, and one with an older schema is brought up to date, both aside. One that
    MLflow refuses is moved aside if it is ours and holds no run, with one line on stderr. While any
    of this may be needed, other processes wait, also through the block; with our own database they
    always do, since two replays of one table would delete each other's runs.

    Args:
        database: the file.
        opening: what has MLflow open a file.
        schema: the version of the tables that MLflow asks for.
        ours: this program chose the place, so that the file is MLflow's or broken.

    Raises:
        BadInput: another process works on it for too long.
        WorkFailed: something else stands there, or it is damaged.
        Exception: why SQLite or `opening` refused the file.
    """
    database = Path(os.path.realpath(database))
    if not ours and _is_whole(database, schema, ours) and not _leftovers(database):
        yield
        return
    with held(Path(f"{database}.lock"), database, LONGEST_WAIT_S):
        for leftover in _leftovers(database):
            shutil.rmtree(leftover, ignore_errors=True)
        if not _is_whole(database, schema, ours):
            _renew(database, opening, ours)
        yield


def set_aside(path: Path) -> Path:
    """Rename a file or folder to `<name>.broken-<n>`, with what SQLite keeps beside it."""
    number = 1
    while path.with_name(f"{path.name}.broken-{number}").exists():
        number += 1
    aside = path.with_name(f"{path.name}.broken-{number}")
    os.rename(path, aside)
    for suffix in SIDE_FILES:
        if (beside := Path(f"{path}{suffix}")).exists():
            os.rename(beside, f"{aside}{suffix}")
    return aside


def _is_whole(database: Path, schema: str, ours: bool) -> bool:
    """Whether nothing is to be done. Ours without a run may be broken, whatever its schema says;
    a file of the user's that MLflow has never opened is not ours to judge.
    """
    if not database.exists():
        return False
    if not database.is_file():
        raise WorkFailed(f"{database} is no file; move it away or name another store")
    found = _first(database, SCHEMA)
    if not ours and found is None:
        return database.stat().st_size > 0
    return found == schema and (not ours or _first(database, RUN) is not None)


def _first(database: Path, query: str) -> Any:
    """The first value that a query finds; None where there is no such table, or no database."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as opened:
            row = opened.execute(query).fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB or "no such table" in str(error):
            return None
        if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT:
            raise WorkFailed(f"{database.name} is damaged; {FIX}") from None
        raise
    return row[0] if row else None


def _renew(database: Path, opening: Opening, ours: bool) -> None:
    """Put a database in the place that MLflow opens. A failure changes nothing there."""
    with _folder_beside(database) as folder:
        made = Path(folder, "completed.db")
        try:
            if database.exists():
                _copy(database, made)
            opening(made)
        except Exception as error:  # the reasons of a refusal have no common class
            if not ours or not database.exists():
                raise
            if _first(database, RUN) is not None:
                raise WorkFailed(f"{database.name} holds runs; {FIX}; {error}") from error
            made = Path(folder, "new.db")
            opening(made)
            aside = set_aside(database)
            print(
                f"lemon: MLflow refuses {database.name}, which holds no run; it is now "
                f"{aside.name}, and a new one is made",
                file=sys.stderr,
            )
        if database.exists() and _first(database, SCHEMA) == _first(made, SCHEMA):
            return  # a program that has it open goes on with it
        for suffix in SIDE_FILES:  # SQLite would play an old journal into the new file
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        os.replace(made, database)


def _copy(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    shutil.copymode(database, copy)


def _folder_beside(database: Path) -> tempfile.TemporaryDirectory[str]:
    name, place = database.name, database.parent
    return tempfile.TemporaryDirectory(
        prefix=f"{name}.", suffix=".partial", dir=place, ignore_cleanup_errors=True
    )


def _leftovers(database: Path) -> list[Path]:
    """Folders beside it that a killed process left, or that one at work has."""
    return list(database.parent.glob(f"{glob.escape(database.name)}.*.partial"))
