"""Every JSON file may hold anything: it is read as it should be, or refused in one message."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import forget_digests
from fabricated_runs import write_outcomes, write_runs, write_scored
from learning_world import LearningWorld
from odd_json import TEXTS, changed, require_refusals, text_of

from lemon.checkpoint import Checkpoint
from lemon.configuration.project import Project
from lemon.data.fetch.assets import LockedAsset, open_asset, read_lock, write_lock
from lemon.data.mirror.check_rows import check_rows
from lemon.data.mirror.listing import (
    MirroredAsset,
    MirroredRows,
    MirrorListing,
    Stamp,
    read_mirror,
)
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, checked_file, read_manifest, sealed
from lemon.files.ownership import own_folder, require_replaceable
from lemon.files.storage import LOCK
from lemon.reporting.claims.verdict import Finding
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.outcomes import read_run
from lemon.reporting.figures.figure_numbers import (
    FigureNumbers,
    FigureWords,
    Panel,
    read_numbers,
    write_numbers,
)
from lemon.reporting.report import write_report
from lemon.tracking import records


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_that_is_no_json_object(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(TEXTS[what])
    with pytest.raises(BadInput, match=rf"^{path}: .*; mend it$") as refused:
        read_json(path, dict[str, Any], "mend it")
    assert str(refused.value).isprintable()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "endless").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "link", "circle", "endless", "pipe", "none", "folder/none", "a\0b"):
        with pytest.raises(BadInput, match=r"; mend it$"):
            read_json(tmp_path / name, dict[str, Any], "mend it")


def test_a_key_that_is_no_text_for_a_message(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for key in ("\x1b[2J", "a\nb", "\u202e", "k" * 5000):
        path.write_bytes(text_of({key: "x"}))
        with pytest.raises(BadInput) as refused:
            read_json(path, dict[str, int], "mend it")
        assert str(refused.value).isprintable() and len(str(refused.value)) < 500


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 2**40)  # a terabyte of nothing, which takes no room
    with pytest.raises(BadInput, match="are too many for a file of this kind"):
        read_json(path, dict[str, Any], "mend it")


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_manifest_of_a_model(learning_world: LearningWorld, tmp_path: Path, seal: bool) -> None:
    folder = Path(shutil.copytree(learning_world.source, tmp_path / "model"))
    # Of its hundred tensors two, since all of their digests are alike.
    content = json.loads((folder / MANIFEST).read_bytes())
    content["tensors"] = dict(sorted(content["tensors"].items())[:2])
    (folder / MANIFEST).write_bytes(text_of(sealed(content)))

    def read() -> None:
        source = Checkpoint(folder)
        source.digest()
        source.verify(content["tensors"])

    require_refusals(folder / MANIFEST, read, seal=seal)


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_manifest_of_text(learning_world: LearningWorld, tmp_path: Path, seal: bool) -> None:
    folder = Path(shutil.copytree(learning_world.text, tmp_path / "text"))
    require_refusals(folder / MANIFEST, lambda: PackedText(folder), seal=seal)


@pytest.mark.parametrize("stage", ["build", "learn", "evaluate", "text", "x"])
def test_the_manifest_of_an_output_folder(stage: str, tmp_path: Path) -> None:
    """Of the first format, which has no digest: whatever it says, a message comes of it."""
    path = tmp_path / "out" / MANIFEST
    path.parent.mkdir()
    said = {"stage": stage, "settings": {"preset": "p", "run": {"id": "r"}, "model": "m"}}
    said |= {"owner": None, "files": {"a": "0" * 64}, "format_version": 1}
    for what, value in changed(said):
        path.write_bytes(text_of(value))
        forget_digests()
        with pytest.raises(BadInput) as refused:
            require_replaceable(path.parent, "tasks of preset q")
        assert str(refused.value).isprintable(), what


def test_the_lock_of_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    odd = [text_of({"owner": value}) for _, value in changed("x")]
    for text in (*TEXTS.values(), *odd):
        (tmp_path / LOCK).write_bytes(text)
        with pytest.raises(BadInput, match=r"nothing was changed; name a new or empty folder"):
            own_folder(tmp_path, "run x of preset y").__enter__()


def test_a_lock_file(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    entry = LockedAsset("hub", "o/n", "1", "0" * 64, 9, "hub/a", ("*",), "CC0")
    write_lock(path, {"a": entry})
    (tmp_path / "cache" / "hub").mkdir(parents=True)
    for seal in (False, True):
        require_refusals(path, lambda: read_lock(path), seal=seal)
    for what, value in changed(json.loads(path.read_bytes())["assets"]["a"]):
        path.write_bytes(
            text_of(sealed(json.loads(text_of({"format": 1, "assets": {"a": value}}))))
        )
        try:
            lock = read_lock(path)
        except BadInput:
            continue
        with pytest.raises(BadInput):
            open_asset(lock, "a", tmp_path / "cache")
        assert isinstance(lock["a"].size, int), what


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_list_of_a_mirror(tmp_path: Path, seal: bool) -> None:
    locked = LockedAsset("hub", "o/n", "0" * 40, "0" * 64, 9, "hub/a", ("*",), "CC0")
    stamp = {"a": Stamp(1, "0" * 64)}
    rows = MirroredRows("main", "0" * 40, {"c": {"test": ["a"]}}, stamp)
    manifest = MirrorListing({"o/n": rows}, {"x": MirroredAsset(locked, stamp)}, {"o/n@main": "0"})
    manifest.write(tmp_path / "mirror.json")
    require_refusals(tmp_path / "mirror.json", lambda: read_mirror(tmp_path), seal=seal)


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_facts_of_a_figure(tmp_path: Path, seal: bool) -> None:
    import pandas as pd

    finding = Finding("C22", "near", "0.9", "holds")
    frame = pd.DataFrame({"a": [1]})
    words = FigureWords(
        title="title",
        caption="caption",
        renderer="weight_similarity",
        settings={"preset": "laptop"},
        inputs={"m": "0"},
        findings=[finding],
        departures=[Departure("model", "a", "b")],
        panels=[Panel("Source", "mha", 0.4, [(1, 2)])],
        bound=0.8,
        radius_names={"r_a": {"64": "128"}},
    )
    write_numbers(FigureNumbers(frame, words), tmp_path, "figure2")
    path = tmp_path / "figure2.facts.json"
    require_refusals(path, lambda: read_numbers(tmp_path, "figure2"), seal=seal)


def test_perplexity_and_manifest_of_outcomes(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", {"sciq": [True, False]}, loss=2.0)
    folder = tmp_path / "cut" / "outcomes"

    def read() -> None:
        found = read_run(tmp_path, "cut", ["sciq"])
        found.row_hash("sciq"), found.heldout_hash, found.heldout.perplexity

    for seal in (False, True):
        require_refusals(folder / MANIFEST, read, seal=seal)
    # Without a manifest's digest, as of an earlier version.
    content = {**json.loads((folder / MANIFEST).read_bytes()), "files": {}, "format_version": 1}
    del content["digest"]
    (folder / MANIFEST).write_bytes(text_of(content))
    forget_digests()
    require_refusals(folder / "perplexity.json", read)


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_manifest_of_rows(tmp_path: Path, seal: bool) -> None:
    place = tmp_path / "o" / "n"
    place.mkdir(parents=True)
    (place / "a.parquet").write_bytes(b"rows")
    digest = "a9d1fdda5f4a6a4a5ee2ac5a1ba8f6a3c5fb3f1ce9a1d0c4a0c1f0f0f0f0f0f0"
    split = {"file": "a.parquet", "rows": 1, "sha256": digest}
    content = {"stage": "tasks", "tasks": {"t": {"repository": "o/n", "splits": {"test": split}}}}
    path = tmp_path / MANIFEST
    for what, value in changed({"format_version": 2, "files": {"x": "0"}, **content}):
        if seal and isinstance(value, dict):
            value = sealed(json.loads(text_of(value)))
        path.write_bytes(text_of(value))
        forget_digests()
        try:
            check_rows(place)
        except BadInput as error:
            assert str(error).isprintable(), what


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, laptop: Project) -> Path:
    """A folder of results whose table has tested orderings, and a figure."""
    folder, project = tmp_path_factory.mktemp("rendered"), laptop
    write_runs(project, "table3", folder / "runs", documents=4)
    write_scored(project, "table3", folder / "runs", folder / "results" / "tables")
    return folder


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its digest"])
def test_the_manifest_of_a_table(
    rendered: Path, laptop: Project, tmp_path: Path, seal: bool
) -> None:
    """As the page of everything and the tracker read it."""
    project = laptop
    path = rendered / "results" / "tables" / "table3.manifest.json"
    sound = path.read_bytes()
    content = json.loads(sound)
    read_by_them = {"format_version", "stage", "files", "code", "wall_s", "finished"}
    content = {key: content[key] for key in read_by_them} | {
        "comparisons": content["comparisons"][:1],
        "findings": [{"claim": "C22", "statement": "a", "measured": "b", "verdict": "holds"}],
    }
    path.write_bytes(text_of(sealed(content)))

    def read() -> None:
        write_report(project, rendered / "results", tmp_path / "report.html")
        records._summary(project, "table3", rendered / "results")

    try:
        require_refusals(path, read, seal=seal)
    finally:
        path.write_bytes(sound)


def test_a_manifest_that_lists_odd_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for name in ("", "..", "../a", "/etc/passwd", "\0", "a\nb", "x" * 300):
        path = tmp_path / MANIFEST
        path.write_bytes(text_of(sealed({"stage": "x", "files": {name: "0" * 64}})))
        forget_digests()
        assert read_manifest(path)["stage"] == "x"
        with pytest.raises(BadInput):
            checked_file(tmp_path / "a")
