"""Documents on disk: without repeats, and split by content alone."""

from __future__ import annotations

import math
from hashlib import sha256
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from lemon.data.text.documents import SplitDocuments

SPLITS = ("train", "tune", "heldout")


def split_of(documents: list[str], seed: int = 0) -> dict[str, list[str]]:
    found = SplitDocuments(documents, seed, BytesIO())
    read = {split: list(found.read(split)) for split in SPLITS}
    assert {split: found.count(split) for split in SPLITS} == {
        split: len(texts) for split, texts in read.items()
    }
    return read


def in_memory(documents: list[str], seed: int) -> dict[str, list[str]]:
    """The same with Python's own lists, as texts were prepared at first."""
    unique = dict.fromkeys(filter(None, (document.strip() for document in documents)))
    ordered = sorted(unique, key=lambda text: sha256(f"{seed}/{text}".encode()).digest())
    share = math.ceil(len(ordered) * 0.1)
    return {
        "train": ordered[2 * share :],
        "tune": ordered[share : 2 * share],
        "heldout": ordered[:share],
    }


def test_repeated_and_blank_documents_are_dropped():
    read = split_of(["b", " a\n", "", "a", "  ", "b"])
    assert sorted(text for texts in read.values() for text in texts) == ["a", "b"]


def test_the_split_depends_on_content_and_seed_alone():
    documents = [f"document {number}" for number in range(100)]
    read = split_of(documents)
    assert {name: len(texts) for name, texts in read.items()} == {
        "train": 80,
        "tune": 10,
        "heldout": 10,
    }
    assert sorted(text for texts in read.values() for text in texts) == sorted(documents)
    assert split_of(documents[::-1]) == read
    assert split_of(documents, seed=1) != read


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=60), st.integers(0, 9))
def test_the_splits_are_those_of_lists_in_memory(documents, seed):
    assert split_of(documents, seed) == in_memory(documents, seed)
