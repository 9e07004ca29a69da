"""`lemon ui` on a port that can't be: refused at once, before MLflow is imported."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lemon.cli import main

SHOW_IMPORTS = """
import os, sys
from lemon.cli import main
os.execv = None
code = main(sys.argv[1:])
print("mlflow" in sys.modules)
sys.exit(code)
"""


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "execv", None)  # what would serve instead of testing


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999999999999999999"])
def test_an_impossible_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", f"--port={port}"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error == f"lemon: error: --port {port}: a port is a number from 1 to 65535\n"


@pytest.mark.parametrize("store", ["", "sqlite:///x.db"])
def test_a_busy_port(busy: int, store: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_IMPORTS, "ui", "--port", str(busy)],
        env={**os.environ, "MLFLOW_TRACKING_URI": store},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith(f"lemon: error: --port {busy}: nothing can be served there (")
    assert list(Path.cwd().iterdir()) == []


def test_a_port_of_a_server_elsewhere_is_not_ours(
    busy: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter2@127.0.0.1:9")
    assert main(["ui", "--port", str(busy)]) == 1
    error = capsys.readouterr().err
    assert "http://127.0.0.1:9: MLflow can't read this store" in error
    assert "hunter2" not in error


def test_the_address_of_the_store_is_no_argument_of_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other users of the machine can read the arguments of a process."""
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: called.append(command))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db?timeout=20")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    assert main(["ui", "--port", port]) == 0
    [command] = called
    assert not [word for word in command if "x.db" in word]
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///x.db?timeout=20"
    assert f"Serving http://127.0.0.1:{port}" in capsys.readouterr().out
