"""Text of any size: prepared as if it were all in memory, without holding it there."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lemon.configuration.preset import TextSettings
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import Lock, LockedAsset, snapshot_digest
from lemon.data.text.documents import SplitDocuments
from lemon.data.text.domains import prepare_text
from lemon.data.text.order import keyed_permutation
from lemon.data.text.packing import PackedText
from lemon.data.text.tokenization import TextTokenizer
from lemon.errors import BadInput

LENGTH, HELDOUT = 64, 5


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small text is in many batches too, and more than what the floors count."""
    monkeypatch.setattr("lemon.data.text.tokenization.BATCH_CHARACTERS", 3_000)
    monkeypatch.setattr("lemon.data.text.floors.COUNTED", 1_000)


def documents(count: int, characters: int, seed: int = 0) -> list[str]:
    """Random documents of 1 to twice as many characters, one in ten of them twice."""
    draw = random.Random(seed)
    texts = [
        "".join(draw.choices("etaoin shrdlu", k=draw.randint(1, 2 * characters)))
        for _ in range(count)
    ]
    return [*texts, *texts[::10]]


def in_cache(cache: Path, name: str, texts: list[str]) -> Lock:
    """A fetched asset with one document a line."""
    folder = cache / name
    folder.mkdir(parents=True)
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "a.jsonl").write_text("".join(lines))
    digest, size = snapshot_digest(AssetFiles(folder)), (folder / "a.jsonl").stat().st_size
    return {name: LockedAsset("hub", "owner/name", "1", digest, size, name, (), "CC0")}


def settings_of(*names: str, **changes: Any) -> TextSettings:
    domains = {name: {"asset": name, "reader": "jsonl", "weight": 1.0} for name in names}
    values = {"sequence_length": LENGTH, "train_sequences": 10**6, "heldout_sequences": HELDOUT}
    return TextSettings.model_validate({**values, **changes, "domains": domains})


@pytest.mark.parametrize("limit", [10, 10**6])
@pytest.mark.usefixtures("small_batches")
def test_the_rows_are_those_of_one_stream_in_memory(limit, tiny_model_folder, tmp_path):
    lock = in_cache(tmp_path, "prose", documents(120, 300))
    lock |= in_cache(tmp_path, "little", documents(60, 100, seed=1))
    tokenizer = TextTokenizer(tiny_model_folder)
    with (tmp_path / "spool").open("w+b") as file:
        split_documents = SplitDocuments(documents(120, 300), 3, file)
        texts = {split: list(split_documents.read(split)) for split in ("train", "tune", "heldout")}
    settings = settings_of("prose", "little", train_sequences=limit)
    out = tmp_path / "text"
    prepare_text(settings, lock=lock, cache=tmp_path, source=tiny_model_folder, out=out, seed=3)
    packed = PackedText(out)
    assert packed.domains == ["prose", "little"]
    for split, members in texts.items():
        tokens = [[*ids, tokenizer.separator] for ids in tokenizer.encode(members)]
        stream = [token for ids in tokens for token in ids]
        home = [number for number, ids in enumerate(tokens) for _ in ids]
        starts = range(0, len(stream) - LENGTH, LENGTH)
        if split == "train":
            chosen = starts[:limit]
            assert (packed.num_sequences(split, "prose") == limit) == (limit == 10)
        else:
            drawn = keyed_permutation(len(starts), split, 3, "prose")[:HELDOUT]
            chosen = [starts[row] for row in drawn]
            assert packed.documents(split, "prose") == [home[start + 1] for start in chosen]
        assert packed.num_sequences(split, "prose") == len(chosen)
        for row, start in enumerate(chosen):
            expected = stream[start : start + LENGTH + 1]
            assert packed.sequence(split, "prose", row).tolist() == expected


@pytest.mark.usefixtures("small_batches")
def test_what_is_held_in_memory_does_not_grow_with_the_text(tiny_model_folder, tmp_path):
    peaks, sizes = [], []
    for count in (60, 60, 600):  # the first time, modules and caches are filled
        folder = tmp_path / str(len(peaks))
        lock = in_cache(folder, "prose", documents(count, 2_000))
        sizes.append(lock["prose"].size)
        tracemalloc.start()
        options = {"cache": folder, "source": tiny_model_folder, "out": folder / "text", "seed": 0}
        prepare_text(settings_of("prose"), lock=lock, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert PackedText(folder / "text").num_sequences("train", "prose") * LENGTH > sizes[-1] * 0.6
    # A row is known by 8 bytes for 64 tokens, and a document by 80 bytes.
    assert peaks[-1] - peaks[-2] < 0.3 * (sizes[-1] - sizes[-2])


def test_a_domain_that_runs_short_is_found_before_a_larger_one_is_tokenised(
    tiny_model_folder, tmp_path, monkeypatch
):
    lock = in_cache(tmp_path, "large", documents(200, 300))
    lock |= in_cache(tmp_path, "short", documents(20, 30))
    tokenised: list[str] = []
    encode = TextTokenizer.encode

    def noted(self: TextTokenizer, texts: Iterable[str]) -> Iterator[np.ndarray]:
        members = list(texts)
        tokenised.extend(members)
        return encode(self, members)

    monkeypatch.setattr(TextTokenizer, "encode", noted)
    options = {"source": tiny_model_folder, "out": tmp_path / "text", "seed": 0}
    with pytest.raises(BadInput, match=r"text\.domains\.short: 2 heldout documents give"):
        prepare_text(settings_of("large", "short"), lock=lock, cache=tmp_path, **options)
    assert 1 <= len(tokenised) <= 2


def test_how_documents_are_batched_does_not_change_their_tokens(tiny_model_folder, monkeypatch):
    texts, tokenizer = documents(30, 40), TextTokenizer(tiny_model_folder)
    alone = [next(tokenizer.encode([text])).tolist() for text in texts]
    for characters in (1, 100, 10**6):
        monkeypatch.setattr("lemon.data.text.tokenization.BATCH_CHARACTERS", characters)
        assert [ids.tolist() for ids in tokenizer.encode(texts)] == alone
