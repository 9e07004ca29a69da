"""Any bytes as a config file: a project or one message in time, and never anything else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lemon.configuration.load import load_project
from lemon.configuration.runs import read_runs
from lemon.configuration.yaml_files import Problem, read_yaml
from lemon.errors import BadInput

CONFIG = Path(__file__).parents[2] / "config"
FILES = ("assets.yaml", "paper.yaml", "runs.tsv", "presets/smoke.yaml")
SECONDS = 3.0  # of processor time, so that a busy machine does not decide

# What YAML, tables, shells, folders and numbers read as more than a word.
PIECES = (
    *(b"&a ", b"*a", b"<<: ", b"!!str ", b"!x ", b"---\n", b"...\n", b"%YAML 1.1\n", b"? ", b"- "),
    *(b"[", b"]", b"{", b"}", b": ", b"|\n", b">\n", b'"', b"'", b"#", b"\t", b"\n", b"\r", b"  "),
    *(b"\0", b"\x1b[2J", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\xd9\xa3"),
    *(b'"\\UFFFFFFFF"', b'"\\ud800"', b'"\\0"', b"9" * 4400, b"1e999", b".nan", b"-1", b"0"),
    *(b"1000000000000", b"null", b"true", b"2024-01-01", b"0x1", b"$(touch pwn)", b"../..", b"-"),
    *(b"a" * 200, b"source", b"cut-75", b"table3", b"sciq", b"~", b""),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(CONFIG, tmp_path_factory.mktemp("fuzz") / "config"))


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with some of its bytes and lines replaced, moved, repeated or left out."""
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 60)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
        match draw(st.sampled_from(("put", "twice", "bit", "value", "line"))):
            case "put":
                content = content[:start] + piece + content[end:]
            case "twice":
                content = content[:end] + content[start:]
            case "bit" if start < len(content):
                flipped = content[start] ^ 1 << draw(st.integers(0, 7))
                content = content[:start] + bytes([flipped]) + content[start + 1 :]
            case "value":
                content = b"\n".join(_other_value(draw, content.split(b"\n"), piece))
            case "line":
                lines = content.split(b"\n")
                lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
                content = b"\n".join(lines)
    return content


def _other_value(draw: st.DrawFn, lines: list[bytes], piece: bytes) -> Iterator[bytes]:
    """The lines, with another value behind the key, or in a cell, of one of them."""
    chosen = draw(st.integers(0, len(lines) - 1))
    for number, line in enumerate(lines):
        if number != chosen:
            yield line
        elif b"\t" in line:
            cells = line.split(b"\t")
            cells[draw(st.integers(0, len(cells) - 1))] = piece
            yield b"\t".join(cells)
        else:
            yield line.partition(b": ")[0] + b": " + piece


def require_one_message(config: Path) -> None:
    """Load the project, and have it or a message that can be printed, in time."""
    before = time.process_time()
    try:
        load_project("smoke", config)
    except BadInput as error:
        message = str(error)
        assert all(character.isprintable() or character == "\n" for character in message)
        assert len(message) < 50_000
    assert time.process_time() - before < SECONDS


@settings(max_examples=40, deadline=None)
@given(data=st.data(), file=st.sampled_from(FILES))
def test_a_mutated_file_gives_a_project_or_one_message(
    data: st.DataObject, file: str, config: Path
) -> None:
    content = (CONFIG / file).read_bytes()
    (config / file).write_bytes(data.draw(mutated(content)))
    try:
        require_one_message(config)
    finally:
        (config / file).write_bytes(content)


@settings(max_examples=80, deadline=None)
@given(
    content=st.binary(max_size=400) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
)
def test_any_bytes_are_problems_and_no_more(content: bytes, config: Path) -> None:
    path = config.parent / "any"
    path.write_bytes(content)
    for read in (read_yaml, read_runs):
        problems: list[Problem] = []
        read(path, problems)
        assert all(str(problem).isprintable() for problem in problems)
