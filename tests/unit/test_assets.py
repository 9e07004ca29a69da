"""Locks and archives: what was fetched is opened from the cache, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from lemon.configuration.given_models import default_cache
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import LockedAsset, open_asset, read_lock, write_lock
from lemon.errors import BadInput


@pytest.fixture
def cached(tmp_path) -> tuple[dict[str, LockedAsset], Path]:
    """A lock of one asset and the cache that holds it."""
    cache = tmp_path / "cache"
    archive = cache / "abc" / "texts-1.0.whl"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("texts/one.txt", "first")
        file.writestr("texts/deep/two.txt", "second")
        file.writestr("texts/code.py", "pass")
    entry = LockedAsset(
        kind="pypi",
        origin="texts",
        version="1.0",
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        size=archive.stat().st_size,
        path="abc/texts-1.0.whl",
        members=("texts/*.txt",),
        licence="CC0",
    )
    return {"texts": entry}, cache


def test_an_archive_lists_its_members_sorted_and_reads_any_file(cached):
    lock, cache = cached
    files = open_asset(lock, "texts", cache)
    assert files.names() == ["texts/deep/two.txt", "texts/one.txt"]
    assert files.read("texts/one.txt") == b"first"
    assert files.read("texts/code.py") == b"pass"
    with files.open("texts/deep/two.txt") as stream:
        assert stream.read() == b"second"


def test_a_folder_lists_its_files_without_the_hidden_ones(tmp_path):
    for name in ("b.json", "a/model.json", ".cache/c.json", "a/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    files = AssetFiles(tmp_path, ("*.json",))
    assert files.names() == ["a/model.json", "b.json"]
    assert files.read("b.json") == b"b.json"
    with pytest.raises(BadInput, match=r"holds no c\.json"):
        files.open("c.json")


def test_an_asset_that_is_not_locked_names_the_mend(cached):
    lock, cache = cached
    with pytest.raises(BadInput, match=r"'speeches'.*texts.*lemon fetch"):
        open_asset(lock, "speeches", cache)


def test_an_asset_that_is_gone_from_the_cache_names_the_mend(cached, tmp_path):
    lock, _ = cached
    with pytest.raises(BadInput, match=r"asset texts: texts 1\.0 is not in the cache.*lemon fetch"):
        open_asset(lock, "texts", tmp_path / "empty")


@pytest.mark.parametrize("damage", [lambda whole: whole[:-7], lambda whole: b"?" + whole[1:]])
def test_a_damaged_archive_is_refused_with_both_digests(cached, damage):
    lock, cache = cached
    archive = cache / lock["texts"].path
    archive.write_bytes(damage(archive.read_bytes()))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(BadInput) as refused:
        open_asset(lock, "texts", cache)
    for words in (str(archive), found, f"says {lock['texts'].sha256}", "lemon fetch"):
        assert words in str(refused.value)


def test_a_damaged_member_is_refused_when_it_is_read(cached):
    lock, cache = cached
    archive = cache / lock["texts"].path
    archive.write_bytes(archive.read_bytes().replace(b"first", b"First"))
    with pytest.raises(BadInput, match=r"texts/one\.txt is damaged"):
        AssetFiles(archive).read("texts/one.txt")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "texts.whl").write_bytes(b"<html>not found</html>")
    with pytest.raises(BadInput, match="not a readable archive"):
        AssetFiles(tmp_path / "texts.whl")


def test_a_lock_file_is_read_back_as_it_was(cached, tmp_path):
    lock, _ = cached
    path = tmp_path / "assets.lock.json"
    write_lock(path, lock)
    assert read_lock(path) == lock


def test_a_lock_file_of_an_earlier_version_needs_no_digest(cached, tmp_path):
    lock, _ = cached
    path = tmp_path / "assets.lock.json"
    path.write_text(json.dumps({"format": 1, "assets": {"texts": asdict(lock["texts"])}}))
    assert read_lock(path) == lock


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "input should be an object"),
        ('{"format": 99, "assets": {}}', "is not of this version"),
        ('{"format": 1}', "input should be an object"),
    ],
)
def test_a_file_that_is_no_lock_is_refused(tmp_path, content, words):
    path = tmp_path / "assets.lock.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=rf"assets\.lock\.json: {words}.*`lemon fetch` again"):
        read_lock(path)


def test_a_missing_lock_file_names_the_mend(tmp_path):
    with pytest.raises(BadInput, match="lemon fetch"):
        read_lock(tmp_path / "assets.lock.json")


def test_the_cache_is_named_by_the_environment_or_lies_in_the_home(monkeypatch):
    monkeypatch.setenv("LEMON_CACHE", "/somewhere")
    assert default_cache() == Path("/somewhere")
    monkeypatch.delenv("LEMON_CACHE")
    assert default_cache() == Path.home() / ".cache" / "lemon"
