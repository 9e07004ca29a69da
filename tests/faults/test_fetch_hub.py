"""Fetching snapshots of a hub, whole or not at all, from a small one on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from loopback_hub import Hub, commit_of, serving

from lemon.configuration.assets import HubAsset
from lemon.data.fetch.assets import fetch, open_asset, read_lock
from lemon.errors import BadInput, WorkFailed


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    with serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        # A command that ran in this process before may have switched the Hub off for it.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("lemon.data.fetch.hub_retry.WAITS", (0.0,))
        served.add("models/owner/name", {"config.json": b"{}", "x.bin": b"not taken"})
        yield served


def hub_asset(revision: str = "main", patterns: tuple[str, ...] = ("*.json",)) -> HubAsset:
    return HubAsset(
        kind="hub",
        repo="owner/name",
        revision=revision,
        repo_type="model",
        patterns=patterns,
        licence="CC0",
        what="a model",
    )


@pytest.mark.parametrize("pinned", [False, True])
def test_a_hub_snapshot_is_locked_by_commit_and_digest(place, hub, pinned):
    out, cache = place
    commit = commit_of(hub.repositories["models/owner/name"]["main"])
    fetch({"model": hub_asset(commit if pinned else "main")}, ["model"], out, cache)
    entry = read_lock(out)["model"]
    line = f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n"
    assert entry.sha256 == hashlib.sha256(line.encode()).hexdigest()
    assert (entry.version, entry.size) == (commit, 2)
    assert open_asset(read_lock(out), "model", cache).names() == ["config.json"]
    hub.requests.clear()
    fetch({"model": hub_asset()}, ["model"], out, cache)
    assert not hub.asked("resolve")


def test_an_incomplete_snapshot_is_not_taken_for_a_whole_one(place, hub):
    out, cache = place
    hub.add("models/owner/name", {"config.json": b"{}", "weights.json": b"[1]"})
    hub.fault("GET .*weights", 500)
    with pytest.raises(WorkFailed, match=r"asset model: owner/name.*answer was 500"):
        fetch({"model": hub_asset()}, ["model"], out, cache)
    hub.fault("GET /api", 500)
    with pytest.raises(WorkFailed, match=r"asset model: owner/name.*answer was 500"):
        fetch({"model": hub_asset()}, ["model"], out, cache)
    assert not out.exists()
    hub.faults.clear()
    hub.requests.clear()
    fetch({"model": hub_asset()}, ["model"], out, cache)
    assert not hub.asked("config.json")
    assert open_asset(read_lock(out), "model", cache).names() == ["config.json", "weights.json"]


def test_patterns_that_match_nothing_are_bad_input(place, hub):
    with pytest.raises(BadInput, match=r"no file of owner/name at revision main matches \*\.gguf"):
        fetch({"model": hub_asset(patterns=("*.gguf",))}, ["model"], *place)


def test_an_unknown_revision_is_bad_input(place, hub):
    with pytest.raises(BadInput, match=r"has no owner/name at revision v9 .*config/assets\.yaml"):
        fetch({"model": hub_asset("v9")}, ["model"], *place)


def test_a_hub_out_of_reach_says_so(place, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WorkFailed, match=r"owner/name at revision main.*check the network"):
        fetch({"model": hub_asset()}, ["model"], *place)
    assert not place[0].exists()


def test_a_gated_repository_says_how_to_enter(place, hub):
    hub.fault("HEAD .*config.json", 403, code="GatedRepo")
    with pytest.raises(BadInput, match=r"owner/name is gated; accept its licence"):
        fetch({"model": hub_asset()}, ["model"], *place)
