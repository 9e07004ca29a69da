"""The part of YAML that is read: the same values as any YAML reader, with lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lemon.files.plain_text import NotPlain
from lemon.files.plain_yaml import DEEPEST, parse

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(CONFIG.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_committed_files_have_the_values_that_any_reader_finds(path: Path) -> None:
    value, lines = parse(path.read_text())
    assert value == YAML(typ="safe", pure=True).load(path)
    written = path.read_text().splitlines()
    for place, line in lines.items():
        if isinstance(place[-1], str):
            assert place[-1] in written[line - 1]


SCALARS: dict[str, Any] = {
    **{"": None, "~": None, "null": None, "Null": None, "true": True, "FALSE": False},
    **{"0": 0, "-7": -7, "+7": 7, "007": 7, "1.5": 1.5, ".5": 0.5, "1.": 1.0, "1e3": 1000.0},
    **{"-.5e-3": -0.0005, ".inf": math.inf, "-.INF": -math.inf, "1e999": math.inf},
    **{"yes": "yes", "no": "no", "on": "on", "y": "y", "1_000": "1_000", "0x1F": "0x1F"},
    **{"0o17": "0o17", "2024-01-01": "2024-01-01", "1:30": "1:30", "1.2.3": "1.2.3", "e3": "e3"},
    **{"'5'": "5", '"5"': "5", "'null'": "null", "''": "", "nul": "nul"},
    **{"a b": "a b", "'it''s'": "it's", '"a\\x41"': "aA", "\u00e9\u4e2d": "\u00e9\u4e2d"},
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_plain_value(text: str) -> None:
    value = parse(f"a: {text}")[0]["a"]
    assert value == SCALARS[text] and type(value) is type(SCALARS[text])


def test_no_number_is_a_number_to_yaml() -> None:
    assert math.isnan(parse("a: .nan")[0]["a"])


def test_an_empty_text_is_nothing() -> None:
    assert parse("") == parse("# a\n") == parse("---\n...\n") == (None, {})


def test_lines_count_from_one_and_lists_have_theirs() -> None:
    value, lines = parse("a:\n  b: [1,\n   2]\n\nc: {d: 3}\n")
    assert value == {"a": {"b": [1, 2]}, "c": {"d": 3}}
    assert lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 2,
        ("a", "b", 1): 3,
        ("c",): 5,
        ("c", "d"): 5,
    }


def test_blocks_may_be_nested_to_a_depth() -> None:
    parse("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(NotPlain, match="nested more than 20 deep"):
        parse("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
