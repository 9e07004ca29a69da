"""Names of files that come from a file or a server lead nowhere but into their own folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_world import tree
from hub_world import ASSETS, MODEL
from learning_world import CONFIG, LearningWorld
from loopback_hub import Hub
from manifests import seal_again

from lemon.checkpoint import INDEX, WEIGHTS, Checkpoint
from lemon.configuration.load import load_project
from lemon.configuration.preset import DomainSettings
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import (
    LockedAsset,
    fetch,
    open_asset,
    read_lock,
    snapshot_digest,
    write_lock,
)
from lemon.data.mirror.check_rows import check_rows
from lemon.data.mirror.listing import (
    UNFINISHED,
    MirroredAsset,
    MirroredRows,
    MirrorListing,
    Stamp,
)
from lemon.data.mirror.make import make_mirror
from lemon.data.mirror.use import fetch_from_mirror
from lemon.data.text.domains import prepare_text
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.storage import LOCK, inside

LEAVING = ["../outside", "a/../../outside", "..", "a/..", "deep/../../../outside", "/etc/passwd"]
ODD = [
    "",
    ".",
    "//",
    "a\\b",
    "..\\outside",
    "a\nb",
    "a\tb",
    "a\0b",
    "\x1b[2Ka",
    "a\u202eb",
    "\ud800",
]
REFUSED = r"is no name of a file inside this folder"


@pytest.mark.parametrize("name", ["a", "a/b.bin", "..a", "a..b", "a...", ".a", "a/./b", "ü 雪.txt"])
def test_a_name_inside_is_taken(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", [*LEAVING, *ODD, "\ud800"])
def test_a_name_that_leaves_or_is_odd_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=REFUSED) as refused:
        inside(tmp_path, name)
    assert str(refused.value).isprintable()


def test_a_link_that_leaves_is_refused_and_one_that_stays_is_taken(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for place in (folder / "real", outside):
        place.mkdir(parents=True)
        (place / "a").write_text("x")
    (folder / "file").symlink_to(outside / "a")
    (folder / "way").symlink_to(outside, target_is_directory=True)
    (folder / "up").symlink_to("..", target_is_directory=True)
    (folder / "stays").symlink_to("real", target_is_directory=True)
    for name in ("file", "way", "way/a", "way/new", "up/outside/a", "stays/../way/a"):
        with pytest.raises(BadInput, match=r"leads out of|is no name of a file"):
            inside(folder, name)
    assert inside(folder, "stays/a").read_text() == "x"
    (folder / "circle").symlink_to("circle")
    assert not inside(folder, "circle").exists()


STAMP = Stamp(1, "0" * 64)


def mirror_of(name: str) -> dict[str, MirrorListing]:
    """Lists of a mirror, each with the name in another place of it."""

    def rows(repository: str = "o/n", file: str = "a", named: str = "a") -> MirrorListing:
        entry = MirroredRows("main", "0" * 40, {"c": {"test": [named]}}, {file: STAMP})
        return MirrorListing(rows={repository: entry})

    def asset(path: str = "a", file: str = "a") -> MirrorListing:
        locked = LockedAsset("hub", "owner/small", "0" * 40, "0" * 64, 1, path, ("*",), "CC0")
        return MirrorListing(assets={"model": MirroredAsset(locked, {file: STAMP})})

    return {
        "data set": rows(repository=name),
        "file of a data set": rows(file=name),
        "file of a config": rows(named=name),
        "path of an asset": asset(path=name),
        "file of an asset": asset(file=name),
    }


@pytest.mark.parametrize("name", ["../../outside/a", "/etc/passwd", "a/../../b", "a\\b", "a\nb"])
def test_a_mirror_names_nothing_outside(name: str, tmp_path: Path) -> None:
    folder, out, cache = tmp_path / "mirror", tmp_path / "lock.json", tmp_path / "cache"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_text("x")
    for where, manifest in mirror_of(name).items():
        shutil.rmtree(folder, ignore_errors=True)
        for file in ("mirror.json", UNFINISHED):
            manifest.write(folder / file)
        before = tree(tmp_path)
        with pytest.raises(BadInput, match=REFUSED):
            fetch_from_mirror(ASSETS, ["model"], [], folder, out, cache)
        with pytest.raises(BadInput, match=REFUSED):
            check_rows(folder / "o" / "n")
        with pytest.raises(BadInput, match=REFUSED):
            make_mirror(ASSETS, ["model"], [], folder)
        (folder / LOCK).unlink()
        assert tree(tmp_path) == before, where


@pytest.mark.parametrize("name", ["../outside", "/etc", "assets/../../outside", "a\\b", "a\0b"])
def test_a_lock_file_names_nothing_outside_of_the_cache(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    digest = snapshot_digest(AssetFiles(outside, ("*.txt",)))
    entry = LockedAsset("hub", "owner/name", "1", digest, 6, name, ("*.txt",), "CC0")
    write_lock(tmp_path / "lock.json", {"texts": entry})
    with pytest.raises(BadInput, match=REFUSED):
        open_asset(read_lock(tmp_path / "lock.json"), "texts", tmp_path / "cache")


@pytest.mark.parametrize("place", ["../outside.safetensors", "{outside}"])
def test_a_shard_index_names_nothing_outside_of_the_model(
    place: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    outside = (model / WEIGHTS).rename(tmp_path / "outside.safetensors")
    shard = place.format(outside=outside)
    names = Checkpoint(tiny_model_folder).specs
    (model / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))
    with pytest.raises(BadInput, match=REFUSED):
        Checkpoint(model)


def test_a_shard_may_be_a_link_as_in_the_cache_of_the_hub(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    (model / "shard").symlink_to((model / WEIGHTS).rename(tmp_path / "blob"))
    names = Checkpoint(tiny_model_folder).specs
    (model / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, "shard")}))
    assert Checkpoint(model).digest() == Checkpoint(tiny_model_folder).digest()


@pytest.mark.parametrize("name", ["../../../../evil.json", "a\\..\\evil.json", "a\nb.json"])
def test_a_hub_names_no_file_outside(name: str, hub: Hub, tmp_path: Path) -> None:
    hub.add(MODEL, {"config.json": b"{}", name: b"{}"})
    cache = tmp_path / "deep" / "cache"
    with pytest.raises(BadInput, match=REFUSED):
        fetch(ASSETS, ["model"], tmp_path / "lock.json", cache)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK]
    assert found == []


def test_a_hub_names_no_commit_outside(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopback_hub.commit_of", lambda _: "../../../../evil")
    with pytest.raises(BadInput, match=REFUSED):
        fetch(ASSETS, ["model"], tmp_path / "lock.json", tmp_path / "deep" / "cache")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK]


@pytest.mark.parametrize("name", ["../../evil", "{outside}", "a/../../../evil", "a\nb"])
def test_a_domain_of_text_names_nothing_outside(
    name: str, learning_world: LearningWorld, tmp_path: Path
) -> None:
    texts = tmp_path / "cache" / "texts"
    texts.mkdir(parents=True)
    for number in range(40):
        (texts / f"{number}.txt").write_text(f"The fox of {number} ran. " * 50)
    digest = snapshot_digest(AssetFiles(texts))
    lock = {"texts": LockedAsset("hub", "o/n", "1", digest, 1, "texts", ("*.txt",), "CC0")}
    settings = load_project("smoke", CONFIG).preset.text
    domain = {"reader": "text_files", "asset": "texts", "weight": 1.0}
    name = name.format(outside=tmp_path / "evil")
    # The configuration has its own rules for names, which are passed by here.
    settings = settings.model_copy(update={"domains": {name: DomainSettings(**domain)}})
    given = {"lock": lock, "cache": tmp_path / "cache", "source": learning_world.source, "seed": 0}
    before = tree(tmp_path)
    with pytest.raises(BadInput, match=REFUSED):
        prepare_text(settings, out=tmp_path / "text", **given)
    assert tree(tmp_path) == before


def test_a_manifest_of_text_names_nothing_outside(
    learning_world: LearningWorld, tmp_path: Path
) -> None:
    text = Path(shutil.copytree(learning_world.text, tmp_path / "text"))
    content = json.loads((text / "manifest.json").read_text())
    domain, *_ = content["domains"].values()
    for split in ("train", "tune", "heldout"):
        shutil.copyfile(next((text / split).iterdir()), tmp_path / "outside.bin")
    name = "../../outside"
    seal_again(text / "manifest.json", domains={name: domain}, domain_order=[name])
    with pytest.raises(BadInput, match=REFUSED):
        PackedText(text)
