"""The database of a tracker: made aside, by one process at a time, and never lost."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lemon.errors import BadInput, WorkFailed
from lemon.files import storage
from lemon.tracking import database as tracking_database
from lemon.tracking.database import database_ready, set_aside


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "store" / "mlflow.db"


def execute(database: Path, *statements: str) -> None:
    database.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(database)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()


def opening(database: Path) -> None:
    """Stands for MLflow: makes schema 2, takes schema 1 to it, and refuses a table `half`."""
    with closing(sqlite3.connect(database)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        if "half" in tables:
            raise RuntimeError("duplicate column name: step")
        if "runs" not in tables:
            opened.execute("CREATE TABLE runs (id TEXT)")
        opened.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)")
        opened.execute("DELETE FROM alembic_version")
        opened.execute("INSERT INTO alembic_version VALUES ('2')")
        opened.commit()


def make_ready(database: Path, ours: bool = True) -> None:
    with database_ready(database, opening, schema="2", ours=ours):
        pass


def rows(database: Path, table: str) -> list[tuple]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute(f"SELECT * FROM {table}").fetchall()


def names(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.iterdir() if path.suffix != ".lock")


OLD = ("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES (1)")
RUNS = ("CREATE TABLE runs (id TEXT)", "INSERT INTO runs VALUES ('mine')")


def test_a_missing_one_is_made_beside_its_place(database: Path) -> None:
    def watched(made: Path) -> None:
        assert not database.exists()
        assert made.parent.parent == database.parent
        opening(made)

    with database_ready(database, watched, schema="2", ours=False):
        assert rows(database, "alembic_version") == [("2",)]
    assert names(database) == ["mlflow.db"]


def test_a_failure_leaves_nothing(database: Path) -> None:
    def full(made: Path) -> None:
        execute(made, "CREATE TABLE half (a)")
        Path(f"{made}-journal").write_text("what SQLite keeps beside it")
        raise sqlite3.OperationalError("database or disk is full")

    with (
        pytest.raises(sqlite3.OperationalError),
        database_ready(database, full, schema="2", ours=True),
    ):
        pass
    assert names(database) == []


@pytest.mark.parametrize("text", ["a shopping list\n" * 100, "\0" * 5000])
def test_garbage_is_moved_aside_with_one_line(
    database: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    database.parent.mkdir()
    database.write_text(text)
    make_ready(database)
    assert (database.parent / "mlflow.db.broken-1").read_text() == text
    assert rows(database, "alembic_version") == [("2",)]
    [line] = capsys.readouterr().err.splitlines()
    assert "it is now mlflow.db.broken-1" in line


def test_an_interrupted_creation_is_moved_aside_once(database: Path) -> None:
    execute(database, "CREATE TABLE half (a)")
    (database.parent / "mlflow.db.broken-1").write_text("an earlier one")
    for _ in range(2):
        make_ready(database)
        assert names(database) == ["mlflow.db", "mlflow.db.broken-1", "mlflow.db.broken-2"]
    assert rows(database.parent / "mlflow.db.broken-2", "half") == []


def test_what_sqlite_keeps_beside_a_database_goes_with_it(database: Path) -> None:
    database.parent.mkdir()
    for name in ("mlflow.db", "mlflow.db-journal", "mlflow.db-wal"):
        (database.parent / name).write_text(name)
    assert set_aside(database) == database.parent / "mlflow.db.broken-1"
    assert names(database) == [f"mlflow.db.broken-1{side}" for side in ("", "-journal", "-wal")]


def test_one_with_runs_is_never_moved(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(database, "CREATE TABLE half (a)", *RUNS)
    before = database.read_bytes()
    with pytest.raises(WorkFailed, match=r"holds runs; move it away.*duplicate column"):
        make_ready(database)
    assert database.read_bytes() == before
    assert names(database) == ["mlflow.db"]
    assert capsys.readouterr().err == ""


def test_a_damaged_one_is_never_moved(database: Path) -> None:
    execute(database, *RUNS, *(f"INSERT INTO runs VALUES ('{n}')" for n in range(2000)))
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorkFailed, match=r"mlflow\.db is damaged; move it away"):
        make_ready(database)
    assert names(database) == ["mlflow.db"]


def test_a_file_of_the_users_choice_is_left_to_mlflow(database: Path) -> None:
    database.parent.mkdir()
    for content in (b"my thesis\n" * 100, None):
        if content:
            database.write_bytes(content)
        else:
            database.unlink()
            execute(database, "CREATE TABLE addresses (name TEXT)")
        before, content_before = database.stat(), database.read_bytes()
        make_ready(database, ours=False)
        after = database.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert database.read_bytes() == content_before
        assert names(database) == ["mlflow.db"]


@pytest.mark.parametrize("ours", [True, False])
def test_an_empty_file_is_as_good_as_none(
    database: Path, ours: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    database.parent.mkdir()
    database.touch()
    make_ready(database, ours)
    assert rows(database, "alembic_version") == [("2",)]
    assert names(database) == ["mlflow.db"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ours", [True, False])
def test_an_older_schema_is_brought_up_to_date_aside(database: Path, ours: bool) -> None:
    execute(database, *OLD, *RUNS)
    database.chmod(0o664)

    def killed(made: Path) -> None:
        execute(made, "CREATE TABLE half (a)")
        raise KeyboardInterrupt

    before = database.read_bytes()
    with pytest.raises(KeyboardInterrupt), database_ready(database, killed, schema="2", ours=ours):
        pass
    assert database.read_bytes() == before
    make_ready(database, ours)
    assert rows(database, "alembic_version") == [("2",)]
    assert rows(database, "runs") == [("mine",)]
    assert database.stat().st_mode & 0o777 == 0o664
    assert names(database) == ["mlflow.db"]


@pytest.mark.parametrize("held", [RUNS, ()])
def test_a_whole_one_stays_the_same_file(database: Path, held: tuple[str, ...]) -> None:
    """A server that has it open would go on with a file that nobody sees any more."""
    make_ready(database)
    execute(database, *held[1:])
    before = database.stat().st_ino
    make_ready(database)
    assert database.stat().st_ino == before


def test_what_a_killed_process_left_is_swept(database: Path) -> None:
    make_ready(database)
    execute(database, RUNS[1])
    leftover = database.parent / "mlflow.db.k1ll3d.partial"
    leftover.mkdir()
    execute(leftover / "new.db", "CREATE TABLE half (a)")
    make_ready(database)
    assert names(database) == ["mlflow.db"]


def test_a_journal_without_its_database_is_not_played_into_the_new_one(database: Path) -> None:
    database.parent.mkdir()
    Path(f"{database}-journal").write_text("of a database that somebody removed")
    make_ready(database)
    assert names(database) == ["mlflow.db"]


def test_a_link_leads_to_where_the_database_is_made(database: Path, tmp_path: Path) -> None:
    database.parent.mkdir()
    database.symlink_to(tmp_path / "large disk" / "store.db")
    make_ready(database)
    assert database.is_symlink()
    assert rows(tmp_path / "large disk" / "store.db", "alembic_version") == [("2",)]


def test_what_is_no_file_is_refused_by_name(database: Path) -> None:
    database.mkdir(parents=True)
    for place in (database, Path("/dev/null")):
        with pytest.raises(WorkFailed, match=f"{place} is no file"):
            make_ready(place)
    assert database.is_dir() and Path("/dev/null").exists()


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Another process that makes the database."""
    database.parent.mkdir(exist_ok=True)
    lock = os.open(f"{database}.lock", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def test_a_first_use_waits_for_another_one(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SILENT_WAIT_S", 0.2)
    with held(database):
        second = threading.Thread(target=make_ready, args=[database])
        second.start()
        second.join(timeout=1)
        assert second.is_alive()
        assert not database.exists()
    second.join(timeout=30)
    assert rows(database, "alembic_version") == [("2",)]
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"lemon: waiting for another process that writes {database}"


def test_the_wait_ends(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_database, "LONGEST_WAIT_S", 0.3)
    with held(database), pytest.raises(BadInput, match="another process"):
        make_ready(database)
