"""The table of runs as a file: from any editor, or refused as none."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_mistakes import RUNS, refusal

from lemon.configuration.load import load_project

FORMS = {
    "byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "lines of another system": lambda content: content.replace(b"\n", b"\r\n"),
    "no last newline": lambda content: content.rstrip(b"\n"),
    "empty cells": lambda content: content.replace(b"\t-", b"\t"),
    "empty lines": lambda content: content.replace(b"\ncut-50", b"\n\n   \ncut-50"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_runs_may_come_from_any_editor(form: str, config: Path) -> None:
    as_committed = load_project("smoke", config)
    path = config / RUNS
    path.write_bytes(FORMS[form](path.read_bytes()))
    assert load_project("smoke", config).runs == as_committed.runs


NO_TABLES = {
    "nothing": b"",
    "other columns": b"id\tmethod\n",
    "NUL": b"id\0\tmethod",
    "16 bits": "id\tmethod".encode("utf-16"),
    "Latin-1": "id\tm\u00e9thode".encode("latin-1"),
    "a million runs": b"x\n" * 10**6,
}


@pytest.mark.parametrize("kind", NO_TABLES)
def test_what_is_no_table_of_runs_is_one_mistake(
    kind: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / RUNS).write_bytes(NO_TABLES[kind])
    message = refusal(config, capsys)
    assert "the configuration has 1 mistake:" in message
    assert f"\n  {RUNS}:1: " in message


def test_more_runs_than_anyone_makes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = "r{}\tcut\t-\tdepth-75\t-\tnone\t0\tsource\n"
    with (config / RUNS).open("a") as file:
        file.writelines(row.format(number) for number in range(1000))
    assert f"{RUNS}:1: has more than 1,000 runs" in refusal(config, capsys)


def test_many_mistakes_are_told_of_in_part(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = "r{}\tcut\t-\tdepth-7\t-\tnon\t0\tsauce\n"
    with (config / RUNS).open("a") as file:
        file.writelines(row.format(number) for number in range(800))
    message = refusal(config, capsys)
    assert "and more mistakes; correct these first" in message
    assert len(message.splitlines()) < 40
