"""Manifests: complete, without private parts, in and out of a checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lemon import provenance
from lemon.errors import BadInput
from lemon.manifest import read_manifest, write_manifest
from lemon.provenance import file_digest, without_private_parts


@pytest.fixture
def outside_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: None)


def test_manifest_says_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/lemon", "learn", "--run", "x"])
    write_manifest(
        tmp_path / "manifest.json",
        "learn",
        settings={"rate": 0.005},
        inputs={"source": "abc"},
        seed=3,
        started=time.monotonic() - 5,
        steps=120,
    )
    content = read_manifest(tmp_path / "manifest.json")
    assert content["stage"] == "learn"
    assert content["command"] == ["lemon", "learn", "--run", "x"]
    assert content["settings"] == {"rate": 0.005}
    assert content["inputs"] == {"source": "abc"}
    assert (content["seed"], content["steps"]) == (3, 120)
    assert 5 <= content["wall_s"] < 60
    assert content["peak_memory_bytes"] > 2**20
    assert content["host"]["cores"] >= 1
    assert content["host"]["memory_bytes"] > 2**28
    assert content["versions"]["numpy"]
    assert content["finished"].endswith("+00:00")


def test_no_home_no_credentials_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside_of_git: None
) -> None:
    home, work = tmp_path / "home" / "ada", tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:hunter2@example.org/mlflow")
    monkeypatch.chdir(work)
    monkeypatch.setattr(
        sys, "argv", ["lemon", "fuse", f"--out={work}/runs/x", str(home / "models"), str(work)]
    )
    path = work / "manifest.json"
    settings = {"tracking": os.environ["MLFLOW_TRACKING_URI"], "paths": [home / "a", Path("b")]}
    write_manifest(path, "fuse", settings=settings, started=time.monotonic())
    text = path.read_text()
    assert "hunter2" not in text and "ada" not in text and str(work) not in text
    content = json.loads(text)
    assert content["command"] == ["lemon", "fuse", "--out=runs/x", "~/models", "."]
    assert content["settings"]["tracking"] == "https://example.org/mlflow"
    assert content["settings"]["paths"] == ["~/a", "b"]


def test_a_folder_that_only_starts_like_the_home_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, outside_of_git: None
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert without_private_parts("/home/adam/x /home/ada/x") == "/home/adam/x ~/x"


def test_outside_of_a_checkout_the_code_is_unknown(outside_of_git: None) -> None:
    assert provenance.code_state() == {"commit": None, "dirty": None, "lock": None}


def test_dirty_digest_follows_changes_and_ignores_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    clean = provenance.code_state()
    assert clean["commit"] and len(clean["commit"]) == 40
    assert clean["dirty"] is None
    assert clean["lock"] == hashlib.sha256(b"numpy==2\n").hexdigest()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table3.csv").write_text("x\n")
    assert provenance.code_state() == clean
    (tmp_path / "code.py").write_text("a = 2\n")
    changed = provenance.code_state()["dirty"]
    (tmp_path / "new.py").write_text("b = 1\n")
    assert None not in (changed, provenance.code_state()["dirty"])
    assert changed != provenance.code_state()["dirty"]


def test_writing_a_manifest_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lemon.manifest import write_manifest;"
        "write_manifest(Path(sys.argv[1]), 'x', started=time.monotonic());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.json")], check=True, timeout=60)


def test_reading_a_missing_or_damaged_manifest_says_where(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.json: no manifest"):
        read_manifest(tmp_path / "none.json")
    damaged = tmp_path / "damaged.json"
    for text in ("{", "[1]"):
        damaged.write_text(text)
        with pytest.raises(BadInput, match=r"damaged\.json: not a"):
            read_manifest(damaged)


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"lemon")
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"lemon").hexdigest()
