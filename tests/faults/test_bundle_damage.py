"""Damaged and hostile bundles, and folders that hold something else: refused, nothing written."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from damage import flipped, places
from finished_runs import write_finished, write_text
from manifests import seal_again

from lemon.bundles.archive import INDEX
from lemon.bundles.pack import pack
from lemon.bundles.unpack import unpack
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import sealed

METRICS = "runs/lemon-cut-75/metrics.jsonl"


@pytest.fixture(scope="module")
def made(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(smoke, "table3", tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def bundle(smoke: Project, made: Path) -> Path:
    pack(smoke, made, made / "runs.bundle")
    return made / "runs.bundle"


def members(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def written(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    """An archive of these files; `kind` is that of the last one."""
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if name == [*files][-1]:
                member.type, member.linkname = kind, "/etc/hosts"
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def with_index(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> None:
    """Change the index of a bundle's files, and seal it again."""
    index = json.loads(files[INDEX])
    del index["digest"]
    change(index)
    files[INDEX] = json.dumps(sealed(index)).encode()


def refuse(smoke: Project, bundle: Path, folder: Path, words: str) -> None:
    """The bundle is refused with these words, and the folder left as it is."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(BadInput, match=words) as refused:
        unpack(smoke, bundle, "bundle", folder)
    assert str(bundle) in str(refused.value)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_file_is_refused_by_name(smoke: Project, bundle: Path, tmp_path: Path) -> None:
    files = members(bundle)
    files[METRICS] = files[METRICS].replace(b"0.9", b"0.8", 1) + b" "
    changed = written(tmp_path / "changed.bundle", files)
    (tmp_path / "work").mkdir()
    refuse(smoke, changed, tmp_path / "work", f"{METRICS}: is damaged; its sha256 is ")


def test_no_flipped_bit_passes(smoke: Project, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for place in places(bundle, 40):
        with flipped(bundle, place), pytest.raises(BadInput):
            unpack(smoke, bundle, "bundle", tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_cut_or_foreign_file_is_no_bundle(smoke: Project, bundle: Path, tmp_path: Path) -> None:
    whole, other = bundle.read_bytes(), tmp_path / "other.bundle"
    (tmp_path / "work").mkdir()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-1], lzma.compress(b"text")):
        other.write_bytes(content)
        refuse(smoke, other, tmp_path / "work", "is no bundle")
    refuse(smoke, tmp_path / "none", tmp_path / "work", "no such bundle; `lemon bundle`")
    first = written(other, {METRICS: b"", INDEX: b""})
    refuse(smoke, first, tmp_path / "work", "is not its first file")


@pytest.mark.parametrize(
    "path",
    [
        "runs/lemon-cut-75/../../../../evil",
        "runs/../evil",
        "/evil",
        "elsewhere/evil",
        "runs/a\\b",
        "runs/a\nb",
        "",
    ],
)
def test_a_path_out_of_the_folders_is_refused(
    path: str, smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    files = members(bundle)
    content = b"evil"
    listed = {path: sha256(content).hexdigest()}
    part = {"settings": "", "files": listed, "left_out": {}}
    with_index(files, lambda index: index["parts"].update({path.rpartition("/")[0]: part}))
    hostile = written(tmp_path / "hostile.bundle", {**files, path: content})
    work = tmp_path / "a" / "b" / "work"
    work.mkdir(parents=True)
    refuse(smoke, hostile, work, "no name of a file inside|alone|which is elsewhere")
    assert {found.name for found in tmp_path.rglob("*")} == {"hostile.bundle", "a", "b", "work"}


def test_a_file_outside_of_its_part_is_refused(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    files = members(bundle)
    own = "runs/cut-75"
    with_index(files, lambda index: index["parts"][own]["files"].update({METRICS: "0"}))
    (tmp_path / "work").mkdir()
    hostile = written(tmp_path / "hostile.bundle", files)
    refuse(smoke, hostile, tmp_path / "work", "in the part 'runs/cut-75', which is elsewhere")


def test_links_strangers_and_gaps_are_refused(smoke: Project, bundle: Path, tmp_path: Path) -> None:
    files, work, other = members(bundle), tmp_path / "work", tmp_path / "other.bundle"
    work.mkdir()
    last = [*files][-1]
    refuse(smoke, written(other, files, tarfile.SYMTYPE), work, f"'{last}' is no plain file")
    stranger = {**files, "runs/stranger": b""}
    refuse(smoke, written(other, stranger), work, "'runs/stranger', which its index does not")
    gap = {name: content for name, content in files.items() if name != METRICS}
    refuse(smoke, written(other, gap), work, f"lacks '{METRICS}', which its index lists")


def test_a_link_in_the_working_folder_leads_nowhere(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    outside, runs = tmp_path / "outside", tmp_path / "work" / "runs" / "smoke"
    outside.mkdir()
    runs.mkdir(parents=True)
    (runs / "lemon-cut-75").symlink_to(outside)
    with pytest.raises(BadInput, match="leads out of"):
        unpack(smoke, bundle, "bundle", tmp_path / "work")
    assert not list(outside.iterdir())


def test_another_preset_format_or_index_is_refused(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    work, other = tmp_path / "work", tmp_path / "other.bundle"
    work.mkdir()
    for change, words in (
        (
            lambda index: index.update(preset="laptop"),
            "is a bundle of preset 'laptop', not of smoke",
        ),
        (lambda index: index.update(format_version=3), "is a bundle of format 3, this version"),
        (lambda index: index.update(parts=[]), "parts: input should be"),
        (lambda index: index.update(extra=1), "extra: extra inputs are not permitted"),
    ):
        files = members(bundle)
        with_index(files, change)
        refuse(smoke, written(other, files), work, words)
    files = members(bundle)
    files[INDEX] = files[INDEX].replace(b"fused anew", b"fused once", 1)
    refuse(smoke, written(other, files), work, "its digest is not that of its content")


def test_a_run_with_other_content_is_refused_untouched(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    unpack(smoke, bundle, "bundle", tmp_path)
    own = tmp_path / "runs" / "smoke" / "random-75-s1"
    (own / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "smoke" / "cut-75" / "config.yaml").unlink()  # would be written again
    refuse(smoke, bundle, tmp_path, r"random-75-s1/manifest\.json: differs from the one in ")


def test_an_unfinished_run_and_foreign_files_are_refused_untouched(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    own = tmp_path / "runs" / "smoke" / "lemon-cut-75"
    own.mkdir(parents=True)
    (own / "metrics.jsonl").write_text("{}\n")
    refuse(smoke, bundle, tmp_path, r"lemon-cut-75/metrics\.jsonl: differs")
    (own / "metrics.jsonl").rename(own / "thesis.txt")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(BadInput, match=r"lemon-cut-75: holds thesis\.txt and no manifest"):
        unpack(smoke, bundle, "bundle", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_prepared_text_is_kept_where_it_is_the_same_and_else_refused(
    smoke: Project, made: Path, bundle: Path, tmp_path: Path
) -> None:
    write_text(smoke, tmp_path)  # the same files, at another time
    text = tmp_path / "data" / "smoke" / "text"
    prepared = (text / "manifest.json").read_bytes()
    unpack(smoke, bundle, "bundle", tmp_path)
    assert (text / "manifest.json").read_bytes() == prepared
    (text / "train" / "prose.bin").write_bytes(b"other")
    seal_again(text / "manifest.json")
    refuse(smoke, bundle, tmp_path, r"text/manifest\.json: differs")


def test_a_damaged_run_is_not_packed(smoke: Project, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")
    metrics = tmp_path / "runs" / "smoke" / "lemon-cut-75" / "metrics.jsonl"
    metrics.write_text("{}\n")
    with pytest.raises(BadInput, match=r"lemon-cut-75/metrics\.jsonl: is damaged"):
        pack(smoke, tmp_path, tmp_path / "runs.bundle")
    assert not (tmp_path / "runs.bundle").exists()
