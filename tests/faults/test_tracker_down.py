"""MLflow down, dying in the middle, or refusing: one warning, exit 0, and a later replay mends."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tracker_world import replay, started, write_rendered

from lemon.errors import WorkFailed
from lemon.tracking import store as tracking
from lemon.tracking.pages import ui

pytestmark = pytest.mark.usefixtures("without_a_tracker")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rendered(tmp_path_factory.mktemp("files"))


# Tracking URIs that can't work, and what is shown of them; more of what is hidden stands in
# tests/unit/test_redaction.py.
IMPOSSIBLE = {
    "postgresql://ada:hunter2@host/db": "postgresql://host/db",  # no driver
    "mysql+pymysql://ada:hun/ter2@host/db?charset=utf8": "mysql+pymysql://host/db",
    "oracle://ada:hunter2@host/db": "oracle://host/db",
    "foo://ada:hunter2@host": "foo://host",
    "ada:hunter2@host/db": "host/db",
    "http://ada:hunter2@127.0.0.1:9": "http://127.0.0.1:9",
    "http://ada:hun#ter2@127.0.0.1:9": "http://127.0.0.1:9",
    "http://ada:hun/ter2@127.0.0.1:9": "http://127.0.0.1:9",
    "http://ada:hun\nter2@127.0.0.1:9": "http://127.0.0.1:9",
    "http://127.0.0.1:9?access_token=hunter2": "http://127.0.0.1:9",
    "http://ada:hunter2@[::1": "http://[::1",
    "http://host:port": "http://host:port",
    "http://": "http://",
    "://": "://",
    "mlruns": "mlruns",
    "sqlite://ada:hunter2@/x.db": "sqlite:///x.db",
    "sqlite:///:memory:": "sqlite:///:memory:",
    "sqlite://": "sqlite://",
    "sqlite:////proc/none/x.db": "sqlite:////proc/none/x.db",
    "sqlite:////dev/null": "sqlite:////dev/null",
    "sqlite:////proc/version": "sqlite:////proc/version",
}


@pytest.mark.parametrize(("uri", "shown"), IMPOSSIBLE.items())
def test_a_store_that_cannot_work_costs_one_warning_without_secrets(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    uri: str,
    shown: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begun = time.monotonic()
    left = replay(files)
    assert time.monotonic() - begun < 60
    assert (left["status"], left["store"]) == ("pending", shown)
    out, warning = capfd.readouterr()
    assert out == ""
    assert warning.startswith(f"lemon: warning: MLflow at {shown} could not record table3 (")
    assert warning.count("\n") == 1
    assert "Connection refused" in warning or uri != "http://ada:hunter2@127.0.0.1:9"
    said = warning + json.dumps(left)
    assert not [part for part in ("hunter2", "ter2", "hun/", "hun:", "hun#") if part in said]
    assert [path.name for path in Path.cwd().iterdir()] == ["track.json"]
    with pytest.raises(WorkFailed) as refused:
        ui()
    assert "ter2" not in str(refused.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ada:hun/ter2@host/db",
        "http://ada:hun/ter2@host\udcff",  # no UTF-8
        "http://ada:hunter2@127.0.0.1:9",
    ],
)
def test_the_command_itself_is_as_quiet(files: Path, uri: str) -> None:
    child = started(files, MLFLOW_TRACKING_URI=uri)
    out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    assert (out, error.count("\n")) == ("", 1), error
    assert error.startswith("lemon: warning: MLflow at ")
    assert "ter2" not in error + Path("track.json").read_text()


class Odd(BaseHTTPRequestHandler):
    """A server that is no MLflow."""

    def do_GET(self) -> None:
        self.send_response(503 if "busy" in self.path else 200)
        self.send_header("Retry-After", "3600")
        self.end_headers()
        self.wfile.write(b"<html>hello\x1b[31m</html>")

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("path", ["", "/busy"])
def test_a_server_that_is_no_mlflow_costs_one_warning(
    files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], path: str
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}{path}")
    begun = time.monotonic()
    assert replay(files)["status"] == "pending"
    assert time.monotonic() - begun < 60
    warning = capfd.readouterr().err
    assert warning.count("\n") == 1 and "\x1b" not in warning
    server.shutdown()


def test_a_store_that_never_answers_is_left_behind(
    files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "FIRST_ANSWER_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        assert replay(files)["reason"] == "no answer within 0.5 s"
        assert time.monotonic() - begun < 15


def test_a_folder_in_the_place_of_the_state_is_moved_aside(
    files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://host")
    Path("track.json").mkdir()
    Path("track.json", "notes").write_text("mine")
    assert replay(files)["status"] == "pending"
    assert Path("track.json.broken-1", "notes").read_text() == "mine"
    assert "track.json was a folder; it is now track.json.broken-1" in capfd.readouterr().err


def test_a_replay_torn_in_the_middle_is_mended_without_duplicates(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = MlflowClient.log_batch, 0

    def dies_after_a_while(*arguments: object, **named: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise MlflowException("the server went away")
        whole(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", dies_after_a_while)
        assert replay(files)["status"] == "pending"
    left = replay(files)
    assert left["status"] == "tracked"
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    runs = client.search_runs([left["experiment_id"]])
    assert sorted(run.info.run_id for run in runs) == sorted(left["runs"].values())
    assert all(run.info.status == "FINISHED" for run in runs)
