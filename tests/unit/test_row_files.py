"""A data file must be what its manifest, or the hash in its name, says."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from manifests import seal_again
from task_rows import write_mirror

from lemon.data.mirror.check_rows import check_rows
from lemon.data.mirror.listing import MirroredRows, MirrorListing, Stamp
from lemon.errors import BadInput
from lemon.evaluation.tasks import opened_tasks
from lemon.files import manifest
from lemon.files.manifest import write_manifest


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def add_file(root: Path, name: str, content: bytes) -> Path:
    path = root / "owner/name" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_prepared(root: Path, file: str, digest: str, repository: str = "owner/name") -> None:
    """A manifest as `lemon prepare tasks` writes it."""
    write_manifest(
        root / "manifest.json",
        "tasks",
        started=time.monotonic(),
        tasks={"a-task": {"repository": repository}},
    )
    seal_again(root / "manifest.json", files={f"{repository}/{file}": digest})


def write_mirror_list(root: Path, file: str, digest: str) -> None:
    rows = MirroredRows("main", "0" * 40, configs={}, files={file: Stamp(1, digest)})
    MirrorListing(rows={"owner/name": rows}).write(root / "mirror.json")


def test_the_hash_in_a_name_is_held_to(tmp_path: Path) -> None:
    digest = sha256(b"rows")
    path = add_file(tmp_path, f"data/test-{digest[:8]}.parquet", b"rows")
    check_rows(tmp_path / "owner/name")
    path.write_bytes(b"Rows")
    with pytest.raises(BadInput) as refused:
        check_rows(tmp_path / "owner/name")
    for words in (str(path), sha256(b"Rows"), f"its name says {digest[:8]}", "copy the folder"):
        assert words in str(refused.value)


@pytest.mark.parametrize("write", [write_prepared, write_mirror_list])
def test_a_manifest_is_held_to(tmp_path: Path, write) -> None:
    path = add_file(tmp_path, "data/test.parquet", b"rows")
    write(tmp_path, "data/test.parquet", sha256(b"rows"))
    check_rows(tmp_path / "owner/name")
    path.write_bytes(b"altered")
    with pytest.raises(BadInput, match=r"test\.parquet: is damaged; its sha256 is"):
        check_rows(tmp_path / "owner/name")
    path.unlink()
    with pytest.raises(BadInput, match=r"test\.parquet: missing, though .*json lists it"):
        check_rows(tmp_path / "owner/name")


@pytest.mark.parametrize("write", [write_prepared, write_mirror_list])
def test_an_unlisted_file_is_refused_where_there_is_a_list(tmp_path: Path, write) -> None:
    add_file(tmp_path, "data/test.parquet", b"rows")
    write(tmp_path, "data/test.parquet", sha256(b"rows"))
    extra = add_file(tmp_path, "data/train.parquet", b"more")
    with pytest.raises(BadInput, match=r"train\.parquet: sha256 .* doesn't have it; take it out"):
        check_rows(tmp_path / "owner/name")
    extra.rename(extra.with_name(f"train-{sha256(b'more')[:8]}.parquet"))
    check_rows(tmp_path / "owner/name")


def test_a_file_without_any_hash_is_accepted_where_there_is_no_list(tmp_path: Path) -> None:
    add_file(tmp_path, "data/test-00000-of-00001.parquet", b"rows")
    add_file(tmp_path, "data/train-00000-of-00001-0123456789abcdef.parquet", b"rows")
    check_rows(tmp_path / "owner/name")
    write_manifest(tmp_path / "manifest.json", "text", started=time.monotonic())
    check_rows(tmp_path / "owner/name")


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    add_file(tmp_path, "data/test.parquet", b"rows")
    for name in ("manifest.json", "mirror.json"):
        (tmp_path / name).write_text("{")
        with pytest.raises(BadInput, match=name):
            check_rows(tmp_path / "owner/name")
        (tmp_path / name).unlink()


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch) -> None:
    path = add_file(tmp_path, f"test-{sha256(b'rows')[:8]}.parquet", b"rows")
    hashed: list[Path] = []
    digest = manifest.file_digest
    monkeypatch.setattr(manifest, "file_digest", lambda path: hashed.append(path) or digest(path))
    for _ in range(3):
        check_rows(tmp_path / "owner/name")
    assert hashed == [path]
    os.utime(path, ns=(1, 1))
    check_rows(tmp_path / "owner/name")
    assert len(hashed) == 2


def test_an_evaluation_refuses_altered_rows_before_it_opens_them(tmp_path: Path) -> None:
    write_mirror(tmp_path, {"sciq": 3})
    [rows] = tmp_path.rglob("test.parquet")
    write_prepared(
        tmp_path, rows.relative_to(tmp_path / "allenai/sciq").as_posix(), "0" * 64, "allenai/sciq"
    )
    with (
        pytest.raises(BadInput, match=r"test\.parquet: is damaged; .*manifest\.json says 0000"),
        opened_tasks(["sciq"], str(tmp_path), None) as opened,
    ):
        list(opened)


@pytest.mark.assets
def test_prepared_rows_are_what_their_manifest_says(laptop_tasks: Path) -> None:
    places = [path.parent for path in laptop_tasks.glob("*/*/README.md")]
    assert len(places) > 5
    for place in places:
        check_rows(place)


@pytest.mark.assets
@pytest.mark.parametrize("listed", [True, False], ids=["in a manifest", "in its name"])
def test_a_real_file_with_one_other_byte_is_refused(
    laptop_tasks: Path, tmp_path: Path, listed: bool
) -> None:
    [original] = (laptop_tasks / "allenai/sciq").rglob("test*.parquet")
    content = bytearray(original.read_bytes())
    digest = sha256(bytes(content))
    path = add_file(tmp_path, f"test-{digest[:8]}.parquet", bytes(content))
    if listed:
        write_prepared(tmp_path, path.name, digest)
    check_rows(tmp_path / "owner/name")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    says = r"manifest\.json says" if listed else "its name says"
    with pytest.raises(BadInput, match=f"{path.name}: is damaged; .*{says}"):
        check_rows(tmp_path / "owner/name")
