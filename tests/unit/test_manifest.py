"""Manifests: complete, without private parts, and of use for knowing files again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifests import seal_again

from lemon import provenance
from lemon.errors import BadInput
from lemon.files.json_file import Absent
from lemon.files.manifest import checked_file, files_below, read_manifest, write_manifest


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: None)
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


def test_writing_a_manifest_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from lemon.files.manifest import write_manifest;"
        "write_manifest(Path(sys.argv[1]), 'x', started=time.monotonic());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.json")], check=True, timeout=60)


def test_reading_a_missing_or_damaged_manifest_says_where(tmp_path: Path) -> None:
    with pytest.raises(Absent, match=r"none\.json: no manifest"):
        read_manifest(tmp_path / "none.json")
    damaged = tmp_path / "damaged.json"
    for text, words in (("{", "is not JSON"), ("[1]", "input should be an object")):
        damaged.write_text(text)
        with pytest.raises(BadInput, match=rf"damaged\.json: {words}.*; remove it and run"):
            read_manifest(damaged)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one in a folder below, and the manifest that lists them."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "below" / "b.txt").write_text("second")
    (tmp_path / ".hidden").write_text("not listed")
    write_manifest(
        tmp_path / "manifest.json", "text", files=files_below(tmp_path), started=time.monotonic()
    )
    return tmp_path


def test_a_manifest_lists_the_files_of_its_folder(folder: Path) -> None:
    assert sorted(read_manifest(folder / "manifest.json")["files"]) == ["a.txt", "below/b.txt"]
    assert checked_file(folder / "a.txt") == folder / "a.txt"
    assert checked_file(folder / "below" / "b.txt", folder / "manifest.json").is_file()


def test_a_file_that_is_altered_missing_or_not_listed_is_refused(folder: Path) -> None:
    (folder / "a.txt").write_text("First")
    with pytest.raises(BadInput, match=r"a\.txt: is damaged; its sha256 is .*manifest\.json says"):
        checked_file(folder / "a.txt")
    (folder / "a.txt").unlink()
    with pytest.raises(BadInput, match=r"a\.txt: missing, though .*manifest\.json lists it"):
        checked_file(folder / "a.txt")
    (folder / "c.txt").write_text("third")
    with pytest.raises(BadInput, match=r"c\.txt: is not among the files of .*manifest\.json"):
        checked_file(folder / "c.txt")


def test_a_manifest_knows_its_own_damage(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"seed": null', '"seed": 1'))
    with pytest.raises(BadInput, match=r"manifest\.json: is damaged, its digest is not that of"):
        read_manifest(path)
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"manifest\.json: is damaged"):
        read_manifest(path)


def test_a_manifest_of_the_first_format_has_no_digest(folder: Path) -> None:
    path = folder / "manifest.json"
    content = {**json.loads(path.read_text()), "format_version": 1}
    del content["digest"], content["files"]
    path.write_text(json.dumps(content))
    assert read_manifest(path)["stage"] == "text"
    (folder / "a.txt").write_text("First")
    assert checked_file(folder / "a.txt")


def test_a_manifest_names_no_file_outside_of_its_folder(folder: Path) -> None:
    (folder.parent / "outside.txt").write_text("x")
    seal_again(folder / "manifest.json", files={"../outside.txt": "0" * 64})
    with pytest.raises(BadInput, match=r"'\.\./outside\.txt' is no name of a file inside"):
        checked_file(folder / "a.txt")
