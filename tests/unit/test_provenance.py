"""Where a result comes from: the state of the code, and nothing private."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import torch

from lemon import provenance
from lemon.provenance import computation_key, file_digest, without_private_parts


@pytest.fixture
def outside_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: None)


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


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"lemon")
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"lemon").hexdigest()


def test_what_is_kept_of_a_computation_has_another_name_if_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return computation_key("cpu", search="come", seed=0)

    names = [key(), computation_key("cpu", search="come", seed=1)]
    assert key() == names[0]
    names.append(computation_key("cpu", search="come", seed=0, program="another"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    names.append(key())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    names.append(computation_key("cuda", search="come", seed=0))
    monkeypatch.setattr(provenance, "library_versions", dict)
    names.append(key())
    (tmp_path / "module.py").write_text("# the program")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    names.append(key())
    assert len(set(names)) == 7
