"""Packing: every token predicted once; the order: a pure function of seed and place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import seal_again
from packed_text import write_packed_text

from lemon.data.text.order import SequenceOrder, keyed_permutation
from lemon.data.text.packing import (
    FORMAT,
    PackedText,
    Rows,
    first_rows,
    open_rows,
    pack,
    token_dtype,
    training_batch,
    write_rows,
)
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST

SEPARATOR = 0


def packed_rows(documents: list[list[int]], length: int, limit: int | None = None) -> list[Rows]:
    blocks = pack([np.array(tokens, dtype=np.int64) for tokens in documents], SEPARATOR, length)
    return list(blocks if limit is None else first_rows(blocks, limit))


def in_lists(blocks: list[Rows]) -> tuple[list[list[int]], list[int]]:
    rows = [row for block in blocks for row in block.tokens.tolist()]
    return rows, [document for block in blocks for document in block.documents.tolist()]


def test_rows_overlap_by_one_token_and_what_is_left_is_dropped():
    # The stream is 1 2 3 0 4 0 5 6 7 8 0, of which rows of 3 + 1 tokens are cut.
    rows, documents = in_lists(packed_rows([[1, 2, 3], [4], [5, 6, 7, 8]], 3))
    assert rows == [[1, 2, 3, 0], [0, 4, 0, 5], [5, 6, 7, 8]]
    # The first predicted tokens are 2, 4 and 6.
    assert documents == [0, 1, 2]


def test_a_stream_of_exactly_one_row_is_kept_and_one_token_less_is_not():
    assert in_lists(packed_rows([[1, 2, 3]], 3)) == ([[1, 2, 3, 0]], [0])
    assert packed_rows([[1, 2]], 3) == packed_rows([], 3) == []


@given(
    st.lists(st.lists(st.integers(1, 99), max_size=12), max_size=8),
    st.integers(min_value=1, max_value=6),
    st.integers(min_value=1, max_value=20),
)
def test_the_predicted_tokens_are_the_stream_without_its_first(documents, length, limit):
    stream = [token for document in documents for token in [*document, SEPARATOR]]
    rows, row_documents = in_lists(packed_rows(documents, length))
    predicted = [token for row in rows for token in row[1:]]
    home = [number for number, document in enumerate(documents) for _ in [*document, SEPARATOR]]
    assert row_documents == home[1::length][: len(rows)]
    assert predicted == stream[1 : 1 + len(predicted)]
    assert len(stream) - 1 - len(predicted) < length
    first = in_lists(packed_rows(documents, length, limit))
    assert first == (rows[:limit], row_documents[:limit])


def test_no_document_is_asked_for_after_the_last_row_is_complete():
    def documents():
        yield np.array([1, 2, 3])
        yield np.array([4, 5])
        pytest.fail("two rows of two tokens are complete")

    rows, _ = in_lists(list(first_rows(pack(documents(), SEPARATOR, 2), limit=2)))
    assert rows == [[1, 2, 3], [3, 0, 4]]


def test_written_rows_are_read_from_the_disk(tmp_path):
    file, dtype = tmp_path / "train" / "a.bin", np.dtype(np.uint16)
    documents = write_rows(file, packed_rows([[1, 2, 3], [], [400]], 2), dtype)
    assert documents.tolist() == [0, 0, 2]
    assert open_rows(file, dtype, 2).tolist() == [[1, 2, 3], [3, 0, 0], [0, 400, 0]]


def test_token_ids_take_the_smallest_type_that_holds_them():
    assert token_dtype(65536) == np.uint16
    assert token_dtype(65537) == np.uint32


@pytest.fixture
def packed(tmp_path) -> Path:
    """Two domains of 5 and 3 training rows, one held-out row each; row r of a starts with 10 r."""

    def rows(count: int) -> np.ndarray:
        return np.arange(count)[:, None] * 10 + np.arange(5)

    train, heldout = {"b": rows(5), "a": rows(3)}, {"b": rows(1), "a": rows(1)}
    return write_packed_text(tmp_path, train, heldout, {"b": 3.0, "a": 1.0}, vocab_size=100)


def test_packed_text_opens_with_the_rows_that_were_written(packed):
    text = PackedText(packed)
    assert text.domains == ["b", "a"]
    assert text.weights == {"b": 0.75, "a": 0.25}
    assert (text.sequence_length, text.vocab_size) == (4, 100)
    assert text.num_sequences("train", "b") == 5
    assert text.num_sequences("heldout", "a") == 1
    row = text.sequence("train", "b", 2)
    assert row.dtype == np.int64
    assert row.tolist() == [20, 21, 22, 23, 24]


def test_a_batch_holds_the_rows_at_its_places(packed):
    text = PackedText(packed)
    order = SequenceOrder({"b": 5, "a": 3}, text.weights, seed=1)
    batch = training_batch(text, order, first_index=6, count=4)
    assert batch.shape == (4, 5)
    assert batch.dtype == np.int64
    assert batch[:, 0].tolist() == [10 * order.locate(index)[1] for index in range(6, 10)]


def test_a_truncated_file_is_named_with_both_lengths(packed):
    file = packed / "train" / "b.bin"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(BadInput, match=r"train/b\.bin: has 47 bytes, the manifest says 50 bytes"):
        PackedText(packed)


def test_a_missing_file_is_named(packed):
    (packed / "heldout" / "a.bin").unlink()
    with pytest.raises(BadInput, match=r"heldout/a\.bin: is missing"):
        PackedText(packed)


def test_a_folder_without_packed_text_names_the_mend(tmp_path):
    with pytest.raises(BadInput, match="lemon prepare text"):
        PackedText(tmp_path)


def test_another_format_is_refused(packed):
    seal_again(packed / MANIFEST, text_format=FORMAT + 1)
    with pytest.raises(BadInput, match=f"packed text of format {FORMAT + 1}; run `lemon prepare"):
        PackedText(packed)


COUNTS = {"a": 7, "b": 40, "c": 3}
WEIGHTS = {"a": 0.2, "b": 0.7, "c": 0.1}


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 9000), min_size=1, max_size=20))
def test_the_order_does_not_depend_on_what_was_asked_before(seed, indices):
    asked = SequenceOrder(COUNTS, WEIGHTS, seed)
    answers = [asked.locate(index) for index in indices]
    assert answers == [SequenceOrder(COUNTS, WEIGHTS, seed).locate(index) for index in indices]


def test_no_row_repeats_inside_an_epoch_and_every_row_comes():
    order = SequenceOrder(COUNTS, WEIGHTS, seed=3)
    rows: dict[str, list[int]] = {domain: [] for domain in COUNTS}
    for index in range(5000):  # more than one block of places
        domain, row = order.locate(index)
        rows[domain].append(row)
    for domain, count in COUNTS.items():
        epochs = [rows[domain][start : start + count] for start in range(0, 10 * count, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(rows["b"][start : start + 40]) for start in range(0, 2000, 40)}) == 50


def test_the_mixture_has_the_proportions_of_the_weights():
    order = SequenceOrder(COUNTS, WEIGHTS, seed=5)
    places = 20_000
    counts = Counter(order.locate(index)[0] for index in range(places))
    for domain, weight in WEIGHTS.items():
        spread = (places * weight * (1 - weight)) ** 0.5
        assert abs(counts[domain] - places * weight) < 4 * spread


def test_seeds_give_different_orders():
    first, second = (SequenceOrder({"a": 1000}, {"a": 1.0}, seed) for seed in (0, 1))
    assert [first.locate(i) for i in range(20)] != [second.locate(i) for i in range(20)]


def test_the_order_is_the_same_on_every_machine_and_version():
    order = SequenceOrder(COUNTS, WEIGHTS, seed=0)
    places = [order.locate(index) for index in (0, 1, 2, 4095, 4096, 100_000)]
    assert places == [("b", 9), ("b", 8), ("b", 37), ("b", 38), ("a", 1), ("b", 32)]
    assert keyed_permutation(8, "any", 1).tolist() == [1, 0, 3, 6, 2, 7, 4, 5]


def test_a_size_that_is_no_number_is_refused(packed):
    seal_again(packed / MANIFEST, vocab_size="50")
    with pytest.raises(BadInput, match="vocab_size"):
        PackedText(packed)
