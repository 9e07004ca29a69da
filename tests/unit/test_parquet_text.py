"""Text in parquet files: the same documents as in JSON lines, a little of a file at once."""

from __future__ import annotations

import json
import random
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lemon.configuration.load import load_project
from lemon.configuration.preset import TextSettings
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import Lock, LockedAsset, snapshot_digest
from lemon.data.text.domains import prepare_text
from lemon.data.text.readers import BLOCK_BYTES, ROWS, read_parquet
from lemon.errors import BadInput

ROOT = Path(__file__).parents[2]


def texts_of(count: int, characters: int) -> list[str]:
    """Random documents, one in ten of them twice."""
    draw = random.Random(0)
    letters = [chr(code) for code in range(97, 123)] + ["é", "語", " ", "\n"]
    texts = ["".join(draw.choices(letters, k=draw.randint(1, characters))) for _ in range(count)]
    return [*texts, *texts[::10]]


def write_parquet(path: Path, texts: list[str | None], **options: Any) -> Path:
    """A file with a column of numbers before that of the texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
    pq.write_table(table, path, **options)
    return path


def locked(cache: Path, name: str) -> Lock:
    folder = AssetFiles(cache / name)
    size = sum((folder.path / file).stat().st_size for file in folder.names())
    entry = LockedAsset("hub", "owner/name", "1", snapshot_digest(folder), size, name, (), "CC0")
    return {name: entry}


def prepared(cache: Path, source: Path, domain: dict[str, Any]) -> dict[str, Any]:
    """The packed rows of one domain, and what the manifest says of them."""
    values = {"sequence_length": 32, "train_sequences": 10**6, "heldout_sequences": 5}
    settings = TextSettings.model_validate(
        {**values, "domains": {"prose": {**domain, "weight": 1.0}}}
    )
    out = cache / f"text-{domain['asset']}"
    lock = locked(cache, domain["asset"])
    prepare_text(settings, lock=lock, cache=cache, source=source, out=out, seed=3)
    rows = {file.name: file.read_bytes() for file in sorted(out.glob("*/*.bin"))}
    return {**rows, "domains": json.loads((out / "manifest.json").read_text())["domains"]}


def test_rows_are_those_of_the_same_documents_as_json_lines(tiny_model_folder, tmp_path):
    texts = texts_of(300, 200)
    (tmp_path / "lines").mkdir()
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "lines" / "a.jsonl").write_text("".join(lines))
    # Two files, several row groups, in another order.
    write_parquet(tmp_path / "rows" / "part" / "b.parquet", texts[:140], row_group_size=50)
    write_parquet(tmp_path / "rows" / "a.parquet", texts[140:], row_group_size=70)
    found = prepared(tmp_path, tiny_model_folder, {"asset": "rows", "reader": "parquet"})
    assert found == prepared(tmp_path, tiny_model_folder, {"asset": "lines", "reader": "jsonl"})
    assert found["domains"]["prose"]["splits"]["train"]["sequences"] > 500


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary("int32", "string")])
@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_another_column_of_strings_can_hold_the_text(kind, compression, tmp_path):
    texts = ["one", "two", "two"]
    table = pa.table({"text": [1, 2, 3], "a.b": pa.array(texts).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet", compression=compression)
    assert list(read_parquet(AssetFiles(tmp_path), "a.b")) == texts


class CountedReads(AssetFiles):
    """An asset that counts the bytes of its reads."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads: list[int] = []

    def open(self, name: str) -> IO[bytes]:
        reads = self.reads

        class Stream(BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                content = super().read(size)
                reads.append(len(content))
                return content

        return Stream((self.path / name).read_bytes())


def test_a_little_of_a_file_is_read_at_once_however_large_its_row_groups(tmp_path):
    texts = texts_of(2_000, 6_000)
    pages = {"data_page_size": BLOCK_BYTES // 4, "write_batch_size": ROWS}
    file = write_parquet(tmp_path / "a.parquet", texts, compression="none", **pages)
    assert pq.ParquetFile(file).num_row_groups == 1
    size = file.stat().st_size
    assert size > 5 * BLOCK_BYTES
    files = CountedReads(tmp_path)
    before = pa.total_allocated_bytes()
    held, documents = [], []
    for number, text in enumerate(read_parquet(files, "text")):
        documents.append(text)
        if number % ROWS == 0:
            held.append(pa.total_allocated_bytes() - before)
        if number == ROWS:
            assert sum(files.reads) < 0.5 * size
    assert documents == texts
    assert max(files.reads) <= 1.1 * BLOCK_BYTES
    assert max(held) < 0.7 * size


def damaged(path: Path) -> None:
    """Zeros in the middle of the column of texts."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


FAULTS = {
    "text": (lambda path: path.write_text("one\ntwo\n"), r"a\.parquet: no parquet file, .*at its"),
    "empty": (lambda path: path.write_bytes(b""), r"a\.parquet: no parquet file, .*at its start"),
    "cut short": (cut_short, r"a\.parquet: no parquet file, cut short or damaged at its start"),
    "damaged": (damaged, r"a\.parquet: no parquet file, cut short or damaged after row \d+ "),
    "no column": (
        lambda path: pq.write_table(pa.table({"id": [1], "content": ["x"]}), path),
        r"a\.parquet: has no single column text but id, content; name",
    ),
    "numbers": (
        lambda path: pq.write_table(pa.table({"text": [1]}), path),
        r"a\.parquet: the column text holds int64 and no strings",
    ),
    "lists": (
        lambda path: pq.write_table(pa.table({"text": [["x"]]}), path),
        r"a\.parquet: the column text holds list<.*> and no strings",
    ),
    "nothing in a row": (
        lambda path: write_parquet(path, ["x", None]),
        r"a\.parquet: row 2 has no text; leave",
    ),
    "not Unicode": (
        lambda path: pq.write_table(
            pa.table({"text": pa.array([b"x", b"\xff"]).view(pa.string())}), path
        ),
        r"a\.parquet: no parquet file, cut short or damaged at its start \(.*utf-8",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_message_that_names_the_file(fault, tmp_path):
    spoil, message = FAULTS[fault]
    spoil(write_parquet(tmp_path / "a.parquet", texts_of(3_000, 300), row_group_size=1_000))
    with pytest.raises(BadInput, match=message):
        list(read_parquet(AssetFiles(tmp_path), "text"))


def test_an_archive_is_read_like_a_folder(tmp_path):
    texts = texts_of(200, 300)
    write_parquet(tmp_path / "rows" / "a.parquet", texts, row_group_size=50)
    archive = shutil.make_archive(str(tmp_path / "rows"), "zip", tmp_path / "rows")
    assert list(read_parquet(AssetFiles(Path(archive)), "text")) == texts


def test_the_guides_example_is_a_text_of_50_billion_tokens(config, tmp_path):
    guide = (ROOT / "docs" / "guide" / "your-own-model.md").read_text()
    asset, text = re.findall(r"```yaml\n(.*?)```", guide, re.S)[-2:]
    with (config / "assets.yaml").open("a") as file:
        file.write(asset)
    preset = f"base: gpu\ndescription: example\n{text}"
    (config / "presets" / "example.yaml").write_text(preset)
    project = load_project("example", config)
    settings = project.preset.text
    assert settings.domains["web"].reader == "parquet"
    assert settings.train_sequences * settings.sequence_length > 50e9
    assert project.assets[str(settings.domains["web"].asset)].kind == "hub"
