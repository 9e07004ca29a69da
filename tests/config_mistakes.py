"""Mistakes made in a copy of the config folder, and the answers that they get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lemon.cli import main

LAPTOP, RUNS, PAPER, ASSETS = "presets/laptop.yaml", "runs.tsv", "paper.yaml", "assets.yaml"
Mistake = tuple[tuple[str, str, str], str]
"""A file, a pattern in it and what takes its place; then the words of the answer."""


def edit(path: Path, pattern: str, text: str) -> int:
    """Replace the first match in a file; give the line on which it now stands."""
    before = path.read_text()
    match = re.search(pattern, before, flags=re.MULTILINE)
    assert match, f"{path} has no {pattern}"
    path.write_text(before[: match.start()] + match.expand(text) + before[match.end() :])
    return before[: match.start()].count("\n") + 1


def refusal(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says of this configuration before it does anything; paths are shortened."""
    words = ("build", "--run", "cut-75", "--source", "x", "--out", "y")
    assert main(["--config", str(config), *words]) == 2
    return capsys.readouterr().err.replace(f"{config}/", "")


def require_named(mistake: Mistake, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Make a mistake, and find it in the answer with its file and line."""
    (file, pattern, text), expected = mistake
    line = edit(config / file, pattern, text)
    message = refusal(config, capsys)
    assert expected in message
    # What is missing has no line of its own, and a parser stops where it gives up.
    elsewhere = any(w in expected for w in ("missing; add it", "must be given", "not YAML"))
    assert (f"  {file}:" if elsewhere else f"  {file}:{line}") in message
