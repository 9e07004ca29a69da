"""A kill, a full disk or a race while MLflow makes its database: the next replay works."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tracker_world import project_of, replay, started, state, write_rendered

from lemon.files.storage import held
from lemon.tracking.replay import track

pytestmark = pytest.mark.usefixtures("without_a_tracker")

# After this statement of its first migration MLflow can't go on: "duplicate column name: step".
DIE_WITHIN = """
import os, signal, sqlalchemy
def look(connection, cursor, statement, *_):
    if "ADD COLUMN step" in statement:
        os.kill(os.getpid(), signal.SIGKILL)
sqlalchemy.event.listen(sqlalchemy.engine.Engine, "after_cursor_execute", look)
"""
SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""
AN_OLDER_PROGRAM = """
from mlflow.tracking import MlflowClient
MlflowClient("sqlite:///mlflow.db").search_experiments()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rendered(tmp_path_factory.mktemp("files"))


def databases() -> list[str]:
    return sorted(path.name for path in Path.cwd().glob("mlflow.db*") if path.suffix != ".lock")


def query(statement: str) -> list[tuple]:
    with closing(sqlite3.connect("mlflow.db")) as store:
        found = store.execute(statement).fetchall()
        store.commit()
        return found


def test_a_kill_while_the_database_is_made(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child = started(files, before=DIE_WITHIN)
    assert child.wait(timeout=120) == -signal.SIGKILL
    assert replay(files)["status"] == "tracked"
    assert databases() == ["mlflow.db"]
    assert capfd.readouterr().err == ""


def test_what_an_older_program_left_half_made_is_moved_aside(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = started(files, before=DIE_WITHIN + AN_OLDER_PROGRAM)
    assert child.wait(timeout=120) == -signal.SIGKILL
    assert replay(files)["status"] == "tracked"
    assert databases() == ["mlflow.db", "mlflow.db.broken-1"]
    assert capfd.readouterr().err.count("\n") == 1


def test_a_full_disk_while_the_database_is_made(files: Path) -> None:
    child = started(files, before=SMALL_FILES)
    _, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    assert error.count("\n") == 1 and "could not record table3" in error
    assert state()["status"] == "pending"
    assert databases() == []
    assert replay(files)["status"] == "tracked"


def test_first_uses_at_once_wait_for_each_other(files: Path) -> None:
    children = [started(files, out=f"track-{n}.json") for n in range(2)]
    for n, child in enumerate(children):
        _, error = child.communicate(timeout=300)
        assert child.returncode == 0, error
        assert state(f"track-{n}.json")["status"] == "tracked", error
    assert databases() == ["mlflow.db"]


def test_sixteen_replays_of_two_tables_at_once_record_each_run_once(tmp_path: Path) -> None:
    folder = write_rendered(tmp_path / "both", "table3", "controls")
    project = project_of(folder)
    context = multiprocessing.get_context("fork")  # which spares each the imports
    children = [
        context.Process(
            target=track,
            args=(project, table, folder / "runs", folder / "results", Path(f"{table}-{n}.json")),
        )
        for n in range(8)
        for table in ("table3", "controls")
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    states = [state(f"{table}-{n}.json") for n in range(8) for table in ("table3", "controls")]
    assert {one["status"] for one in states} == {"tracked"}
    ids = {key: run for one in states for key, run in one["runs"].items()}
    assert all(one["runs"].items() <= ids.items() for one in states)
    live = query("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'")
    assert sorted(run for (run,) in live) == sorted(ids.values())
    assert query("SELECT COUNT(*) FROM runs WHERE status != 'FINISHED'") == [(0,)]


def test_a_replay_waits_for_another_one_into_the_same_database(files: Path) -> None:
    assert replay(files)["status"] == "tracked"
    with held(Path("mlflow.db.lock").absolute(), Path("mlflow.db")):
        child = started(files, out="second.json")
        assert child.stderr is not None
        assert "waiting for another process" in child.stderr.readline()
        assert not Path("second.json").exists()
    _, error = child.communicate(timeout=300)
    assert child.returncode == 0, error
    assert state("second.json")["status"] == "tracked", error


def test_a_database_with_runs_that_mlflow_refuses_is_left_as_it_is(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    replay(files)
    query("UPDATE alembic_version SET version_num = 'of a newer MLflow'")
    before = Path("mlflow.db").read_bytes()
    capfd.readouterr()
    assert replay(files)["status"] == "pending"
    warning = capfd.readouterr().err
    assert warning.count("\n") == 1
    assert "mlflow.db holds runs; move it away" in warning
    assert Path("mlflow.db").read_bytes() == before
    assert databases() == ["mlflow.db"]


def test_an_older_database_keeps_its_runs(files: Path) -> None:
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    store = create_engine(f"sqlite:///{Path('mlflow.db').absolute()}")
    Base.metadata.create_all(store)
    config = utils._get_alembic_config(str(store.url))
    with store.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "bd07f7e963c5")  # of MLflow 2.x
    store.dispose()
    query("INSERT INTO experiments VALUES (0, 'Default', 'place', 'active')")
    query(
        "INSERT INTO runs (run_uuid, name, experiment_id, status, lifecycle_stage, artifact_uri)"
        " VALUES ('a', 'mine', 0, 'FINISHED', 'active', 'place')"
    )
    assert replay(files)["status"] == "tracked"
    assert query("SELECT name FROM runs WHERE run_uuid = 'a'") == [("mine",)]
    assert databases() == ["mlflow.db"]
