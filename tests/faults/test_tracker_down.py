"""MLflow down, dying in the middle, or refusing: one warning, exit 0, and a later replay mends."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from fabricated_runs import write_runs
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lemon.presets import Project, load_project
from lemon.reporting.tables import write_table
from lemon.tracking import track

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("smoke", CONFIG)


@pytest.fixture(scope="module")
def files(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_runs(project, "table3", folder / "runs", documents=8)
    write_table(project, "table3", folder / "runs", folder / "results" / "tables")
    return folder


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def replay(project: Project, files: Path) -> dict:
    track(project, "table3", files / "runs", files / "results", Path("track.json"))
    return json.loads(Path("track.json").read_text())


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_tracker_out_of_reach_costs_one_warning(
    project: Project,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri = f"http://ada:hunter2@127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    state = replay(project, files)
    assert time.monotonic() - started < 60
    assert state["status"] == "pending"
    warning = capfd.readouterr().err.strip()
    assert len(warning.splitlines()) == 1
    assert warning.startswith("lemon: warning: MLflow at http://127.0.0.1:")
    assert "hunter2" not in warning + json.dumps(state)
    assert not Path("mlflow.db").exists()


def test_a_store_that_is_no_database_costs_one_warning(
    project: Project, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("mlflow.db").write_text("this is a shopping list, not a database\n" * 100)
    state = replay(project, files)
    assert state["status"] == "pending"
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


def test_a_replay_torn_in_the_middle_is_mended_without_duplicates(
    project: Project, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = MlflowClient.log_batch, 0

    def dies_after_a_while(*arguments: object, **named: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise MlflowException("the server went away")
        whole(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", dies_after_a_while)
        assert replay(project, files)["status"] == "pending"
    state = replay(project, files)
    assert state["status"] == "tracked"
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    runs = client.search_runs([state["experiment_id"]])
    assert sorted(run.info.run_id for run in runs) == sorted(state["runs"].values())
    assert all(run.info.status == "FINISHED" for run in runs)
