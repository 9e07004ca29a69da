"""MLflow's local SQLite file: created completely or not at all, by one process at a time.

MLflow creates its tables in many steps and can't continue after a kill or a full disk. So the
database is made in a temporary folder next to its place and then renamed.
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lemon.errors import WorkFailed
from lemon.files.storage import held

SCHEMA, RUN = "SELECT version_num FROM alembic_version", "SELECT 1 FROM runs"
FIX = "move it away, and the next call fills a new one from the files"
SIDE_FILES = ("-journal", "-wal", "-shm")  # SQLite's files next to a database
LONGEST_WAIT_S = 120.0

Opening = Callable[[Path], None]  # lets MLflow create or complete a file's tables, and closes it


@contextmanager
def database_ready(database: Path, opening: Opening, *, schema: str, ours: bool) -> Iterator[None]:
    """Before the block, make sure that MLflow can open the database without changing its tables.

    A missing file is created and an older schema upgraded, both in a temporary folder. A file that
    MLflow refuses is renamed if it is ours and holds no run, with one line on stderr. Other
    processes wait while this may be needed, also during the block; for our own database they always
    wait, since two replays of one table would delete each other's runs.

    `opening` lets MLflow open a file, `schema` is the table version that it requires. If `ours`,
    this program chose the path, so the file is MLflow's or broken.

    Raises:
        BadInput: another process holds the lock for too long.
        WorkFailed: it is no file, is damaged, or is ours with runs and MLflow refuses it.
        Exception: the reason why SQLite or `opening` refused the file.
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
    """Rename a file or folder, and SQLite's files next to it, to `<name>.broken-<n>`."""
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
    """Whether the database can be used as it is.

    Ours without a run may be broken despite the right schema. A user's file without MLflow's tables
    is accepted unless it is empty.
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
    """The first value of a query; None without a row or the table, or if it is no database."""
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
    """Create or upgrade a database that MLflow opens. A failure leaves the old file unchanged."""
    name, place = database.name, database.parent
    with TemporaryDirectory(
        prefix=f"{name}.", suffix=".partial", dir=place, ignore_cleanup_errors=True
    ) as folder:
        made = Path(folder, "completed.db")
        try:
            if database.exists():
                with (
                    closing(sqlite3.connect(database)) as old,
                    closing(sqlite3.connect(made)) as new,
                ):
                    old.backup(new)
                shutil.copymode(database, made)
            opening(made)
        except Exception as error:  # a refusal has no common class
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
            return  # unchanged for a program that has it open
        for suffix in SIDE_FILES:  # SQLite would apply an old journal to the new file
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        os.replace(made, database)


def _leftovers(database: Path) -> list[Path]:
    """Temporary folders next to it, of killed or running processes."""
    return list(database.parent.glob(f"{glob.escape(database.name)}.*.partial"))
