"""A damaged state file of a replay: the workflow does the replay again, whatever is in the file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

RULES = Path(__file__).parents[2] / "workflow" / "rules" / "common.smk"
SOUND = {"status": "tracked", "runs": {}}


@pytest.fixture
def replay(tmp_path: Path) -> Callable[[], str]:
    """The function of the rules that says whether a replay is due, for `table3` in `tmp_path`."""
    text = RULES.read_text(encoding="utf-8")
    source = re.search(r"^def replay\(.*?(?=^\S|\Z)", text, re.M | re.S)
    assert source
    names = {"Path": Path, "json": json, "RUNS": str(tmp_path)}
    exec(source[0], names)
    return lambda: str(names["replay"](SimpleNamespace(table="table3")))  # type: ignore[operator]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "tracking" / "table3.json"
    path.parent.mkdir()
    return path


def due(state: Path) -> str:
    return f"pending since {state.stat().st_mtime_ns}"


def test_a_sound_file_says_what_it_said(replay: Callable[[], str], state: Path) -> None:
    assert replay() == "done"
    state.write_text(json.dumps(SOUND))
    assert replay() == "done"
    state.write_text(json.dumps({"status": "pending", "reason": "it was down"}))
    assert replay() == due(state)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b'"tracked"',
        b"12",
        b"1" * 5000,
        b"{}",
        b'{"status": null}',
        b'{"status": ["tracked"]}',
        b'{"status": "traced"}',
        b"[" * 100_000,
        json.dumps(SOUND).encode()[:-5],
        json.dumps(SOUND).encode().replace(b"tracked", b"tr\x00cked"),
    ],
)
def test_a_damaged_file_is_redone(replay: Callable[[], str], state: Path, content: bytes) -> None:
    state.write_bytes(content)
    assert replay() == due(state)


def test_what_is_no_file_is_redone(replay: Callable[[], str], state: Path) -> None:
    state.mkdir()
    assert replay() == due(state)
    state.rmdir()
    os.mkfifo(state)
    assert replay() == due(state)
    state.unlink()
    state.symlink_to(state)
    assert replay() == "done"  # Snakemake misses the output and makes it


def test_a_file_in_the_place_of_the_folder(replay: Callable[[], str], state: Path) -> None:
    state.parent.rmdir()
    state.parent.write_text("no folder")
    assert replay() == "done"
