"""Using a mirror: on a machine without a hub, in evaluation, and with damage to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_world import (
    ASSETS,
    add_declared,
    add_scripted,
    hub_asset,
    mirror,
)
from loopback_hub import Hub

from lemon.configuration.tasks import TASKS
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.data.fetch.assets import fetch, open_asset, read_lock
from lemon.data.mirror.make import make_mirror
from lemon.data.mirror.use import fetch_from_mirror
from lemon.errors import BadInput
from lemon.evaluation.tasks import opened_tasks


def test_every_task_opens_from_a_mirror(hub: Hub, tmp_path: Path) -> None:
    scripted = ("logiqa", "lambada_openai")
    for task in BENCHMARKS:
        (add_scripted if task in scripted else add_declared)(hub, task)
    mirror(tmp_path, *BENCHMARKS, assets=False)
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")]
    assert len(files) == 11 + sum(TASKS[task].shots > 0 for task in BENCHMARKS)
    with opened_tasks(list(BENCHMARKS), str(tmp_path), 4) as opened:
        assert {task.name: len(task.questions) for task in opened} == dict.fromkeys(BENCHMARKS, 4)


def test_the_other_machine_fetches_from_the_mirror_without_a_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out, cache = tmp_path / "mirror", tmp_path / "lock.json", tmp_path / "cache"
    make_mirror(ASSETS, ["model"], ["sciq"], folder)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub.requests.clear()
    fetch_from_mirror(ASSETS, ["model"], ["sciq"], folder, out, cache)
    assert hub.requests == []
    entry = read_lock(out)["model"]
    assert open_asset(read_lock(out), "model", cache).names() == [
        "config.json",
        "model.safetensors",
    ]
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    direct = fetch(ASSETS, ["model"], tmp_path / "other.json", tmp_path / "cache2")["model"]
    assert entry == direct


def test_a_mirror_that_lacks_something_says_what(hub: Hub, tmp_path: Path) -> None:
    folder, out, cache = tmp_path / "mirror", tmp_path / "lock.json", tmp_path / "cache"
    with pytest.raises(BadInput, match=r"no mirror here \(mirror\.json is missing\)"):
        fetch_from_mirror(ASSETS, ["model"], [], folder, out, cache)
    make_mirror(ASSETS, ["model"], ["sciq"], folder)
    with pytest.raises(BadInput, match=r"rows of logiqa \(EleutherAI/logiqa\) are not in it"):
        fetch_from_mirror(ASSETS, ["model"], ["sciq", "logiqa"], folder, out, cache)
    other = {"model": hub_asset(patterns=("*.bin",)), "more": hub_asset(repo="owner/other")}
    with pytest.raises(BadInput, match="asset model is another version there"):
        fetch_from_mirror(other, ["model"], [], folder, out, cache)
    with pytest.raises(BadInput, match="asset more is not in it"):
        fetch_from_mirror(other, ["more"], [], folder, out, cache)
    assert not out.exists()


def test_a_damaged_asset_of_the_mirror_is_refused_by_its_hash(hub: Hub, tmp_path: Path) -> None:
    folder, out, cache = tmp_path / "mirror", tmp_path / "lock.json", tmp_path / "cache"
    make_mirror(ASSETS, ["model"], [], folder)
    [model] = folder.rglob("model.safetensors")
    model.write_bytes(b"?" + model.read_bytes()[1:])
    with pytest.raises(BadInput, match=r"model\.safetensors: is damaged; .*mirror\.json says"):
        fetch_from_mirror(ASSETS, ["model"], [], folder, out, cache)
    assert not out.exists()
    assert not list(cache.rglob("model.safetensors"))


FEATURES = """dataset_info:
  features:
  - {name: goal, dtype: string}
  - {name: sol1, dtype: string}
  - {name: sol2, dtype: string}
  - name: label
    dtype:
      class_label:
        names: {'0': first, '1': second}
  splits:
  - {name: train, num_examples: 99}
"""


def test_the_features_of_the_hubs_card_are_kept(hub: Hub, tmp_path: Path) -> None:
    from datasets import load_dataset

    add_declared(hub, "piqa", head=FEATURES)
    mirror(tmp_path / "mirror", "piqa", assets=False)
    place = str(tmp_path / "mirror/baber/piqa")
    rows = load_dataset(place, cache_dir=str(tmp_path / "cache"))
    assert list(rows) == ["validation"]
    assert rows["validation"].features["label"].names == ["first", "second"]
