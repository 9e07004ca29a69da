"""`runs.tsv`: one row, one run. What a row says, and reading it, every mistake with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from lemon.configuration.bounds import (
    Name,
    Seed,
)
from lemon.configuration.methods import METHODS, Method
from lemon.configuration.preset import Section
from lemon.configuration.yaml_files import MOST_PROBLEMS, Problem, did_you_mean, first_of
from lemon.files.names import name_fault, shown
from lemon.files.plain_text import NotPlain, read_text

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Run(Section):
    """One run, a row of `runs.tsv`; `-` in a cell means none."""

    id: Identifier = Field(description="name of the run and of its folder; unique")
    method: Name = Field(description="how the operators come about: " + ", ".join(METHODS))
    start: Name | None = Field(
        description="what the run starts from: a method such as cut, or the id of an earlier run, "
        "whose operators it takes"
    )
    target: Name | None = Field(description="symbolic shape; the preset says it in numbers")
    radii: Name | None = Field(
        description="symbolic receptive fields of the dimension operator, named as in the paper; "
        "the preset says them in numbers"
    )
    steps: Name = Field(description="symbolic budget; the preset says it in optimiser steps")
    seed: Seed = Field(description="seed of the method's draws and of the text order")
    source: Name | None = Field(
        description="run whose model is fused: that of the source, or the earlier one of two stages"
    )


COLUMNS = tuple(Run.model_fields)
NONE = "-"
MOST_RUNS = 1000
RESERVED = {"tracking": "the folder, beside those of runs, of what was recorded"}


def read_runs(path: Path, problems: list[Problem]) -> tuple[dict[str, Run], dict[str, int]]:
    """The runs by id, in the order of the file, and the line of each.

    Rows with mistakes are left out of the result and added to `problems`.
    """
    try:
        lines = read_text(path).split("\n")
    except NotPlain as fault:
        problems.append(Problem(path, fault.line, "", str(fault)))
        return {}, {}
    if tuple(lines[0].split("\t")) != COLUMNS:
        columns = " ".join(COLUMNS)
        problems.append(Problem(path, 1, "", f"the first line must name, tab-separated, {columns}"))
        return {}, {}
    rows = {number: line for number, line in enumerate(lines[1:], start=2) if line.strip()}
    if len(rows) > MOST_RUNS:
        problems.append(Problem(path, 1, "", f"has more than {MOST_RUNS:,} runs"))
        return {}, {}
    line_of: dict[str, int] = {}
    for number, line in rows.items():
        line_of.setdefault(line.split("\t")[0], number)
    runs: dict[str, Run] = {}
    found: list[Problem] = []
    ids = set(line_of)
    for number, line in rows.items():
        cells = line.split("\t")
        mistakes = _cell_mistakes(cells, ids)
        first = line_of[cells[0]]
        if first != number and name_fault(cells[0]) is None:
            mistakes.append(("id", f"{cells[0]} is already on line {first}"))
        found += [Problem(path, number, column, message) for column, message in mistakes]
        if not mistakes and first == number:
            runs[cells[0]] = _run(dict(zip(COLUMNS, cells, strict=True)))
        if len(found) > MOST_PROBLEMS:
            break
    problems += first_of(found)
    return runs, line_of


def _cell_mistakes(cells: list[str], ids: set[str]) -> list[tuple[str, str]]:
    """What is wrong with the cells of a line, as (column, message)."""
    if len(cells) != len(COLUMNS):
        return [("", f"has {len(cells)} tab-separated cells, not {len(COLUMNS)}")]
    row = dict(zip(COLUMNS, cells, strict=True))
    faults = {column: name_fault(cell) for column, cell in row.items() if column != "seed"}
    found = [(column, fault) for column, fault in faults.items() if fault and row[column] != NONE]
    return found or _mistakes(row, ids)


def _run(row: dict[str, str]) -> Run:
    values = {key: None if cell == NONE else cell for key, cell in row.items()}
    return Run.model_validate({**values, "seed": int(row["seed"])})


def _mistakes(row: dict[str, str], ids: set[str]) -> list[tuple[str, str]]:
    """What is wrong with a row as such, as (column, message); `ids` are those of all rows."""
    found = []
    if not re.fullmatch("[0-9]{1,30}", row["seed"]):
        found.append(("seed", f"must be a whole number of at least 0, not {shown(row['seed'])}"))
    else:
        try:
            _run(row)
        except ValidationError as error:
            found += [
                (str(e["loc"][0]), f"{row[str(e['loc'][0])]!r}: {e['msg']}") for e in error.errors()
            ]
    if row["method"] not in METHODS:
        return [
            *found,
            ("method", f"unknown method {row['method']}, {did_you_mean(row['method'], METHODS)}"),
        ]
    method = METHODS[row["method"]]
    if row["id"] in METHODS and METHODS[row["id"]].needs_target:
        found.append(("id", f"{row['id']} is the name of a method; name the run otherwise"))
    if row["id"] in RESERVED:
        found.append(("id", f"{row['id']} is {RESERVED[row['id']]}; name the run otherwise"))
    if method.starts:
        known = _starts(method, ids - {row["id"]})
        if row["start"] not in known:
            found.append(
                ("start", f"unknown start {row['start']}, {did_you_mean(row['start'], known)}")
            )
    elif row["start"] != NONE:
        found.append(("start", f"{row['method']} has no start; write {NONE}"))
    for column in ("target", "source"):
        if method.needs_target and row[column] == NONE:
            found.append((column, f"{row['method']} needs a {column}"))
        if not method.needs_target and row[column] != NONE:
            found.append((column, f"{row['method']} has no {column}; write {NONE}"))
    return found


def _starts(method: Method, ids: set[str]) -> list[str]:
    """What a run of this method may start from: methods that choose operators, earlier runs."""
    chosen = [name for name, info in METHODS.items() if info.needs_target and not info.learned]
    methods = [name for name in chosen if not METHODS[name].starts]
    return (methods if "method" in method.starts else []) + (
        sorted(ids) if "run" in method.starts else []
    )
