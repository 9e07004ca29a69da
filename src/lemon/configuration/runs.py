"""`runs.tsv`, one row per run: the type of a row, and the reader, which reports every mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from lemon.configuration.bounds import Identifier, Name, Section, Seed
from lemon.configuration.methods import METHODS, Method
from lemon.configuration.yaml_files import (
    MOST_PROBLEMS,
    Problem,
    did_you_mean,
    first_of,
    mistakes_of,
)
from lemon.files.names import name_fault
from lemon.files.plain_text import NotPlain, read_text

Mistake = tuple[str, str]
"""A column and the message about it."""


class Run(Section):
    """One run, a row of `runs.tsv`; `-` or an empty cell means none."""

    id: Identifier = Field(description="name of the run and of its folder; unique")
    method: Name = Field(description="how its model comes about: " + ", ".join(METHODS))
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
    rates: Name | None = Field(
        default=None,
        description="symbolic learning rates; the preset says them in numbers",
    )
    seed: Seed = Field(description="seed of the method's draws and of the text order")
    source: Name | None = Field(
        description="run whose model is fused: that of the source, or the earlier one of two stages"
    )

    @property
    def traits(self) -> Method:
        """The properties of its method."""
        return METHODS[self.method]


COLUMNS = tuple(Run.model_fields)
OPTIONAL = ("start", "target", "radii", "rates", "source")
NONE = "-"  # easier to see than an empty cell between two tabs
MOST_RUNS = 1000
RESERVED = {
    "tracking": "the folder, beside those of runs, of what was recorded",
    "tuning": "the folder, beside those of runs, of trials of rates",
}


def table_lines(
    path: Path, columns: tuple[str, ...], most: int, what: str, problems: list[Problem]
) -> dict[int, str]:
    """The filled lines below the heading of a tab-separated file, by number.

    None of a file that can't be read, has other columns or more than `most` lines; that becomes a
    problem.
    """
    try:
        heading, *lines = read_text(path).split("\n")
    except NotPlain as fault:
        problems.append(Problem(path, fault.line, "", str(fault)))
        return {}
    rows = {number: line for number, line in enumerate(lines, start=2) if line.strip()}
    if tuple(heading.split("\t")) != columns:
        names = " ".join(columns)
        problems.append(Problem(path, 1, "", f"the first line must name, tab-separated, {names}"))
        return {}
    if len(rows) > most:
        problems.append(Problem(path, 1, "", f"has more than {most:,} {what}"))
        return {}
    return rows


def read_runs(path: Path, problems: list[Problem]) -> tuple[dict[str, Run], dict[str, int]]:
    """The runs by id, in the order of the file, and the line of each.

    Rows with mistakes are left out of the result and added to `problems`.
    """
    rows = table_lines(path, COLUMNS, MOST_RUNS, "runs", problems)
    line_of: dict[str, int] = {}
    for number, line in rows.items():
        line_of.setdefault(line.split("\t")[0], number)
    runs: dict[str, Run] = {}
    found: list[Problem] = []
    ids = set(line_of)
    for number, line in rows.items():
        cells = line.split("\t")
        run, mistakes = _read_row(cells, ids)
        first = line_of[cells[0]]
        if first != number and name_fault(cells[0]) is None:
            mistakes.append(("id", f"{cells[0]} is already on line {first}"))
        found += [Problem(path, number, column, message) for column, message in mistakes]
        if run is not None and not mistakes:
            runs[run.id] = run
        if len(found) > MOST_PROBLEMS:
            break
    problems += first_of(found)
    return runs, line_of


def _read_row(cells: list[str], ids: set[str]) -> tuple[Run | None, list[Mistake]]:
    """The run of a line (None if its cells can't be read), and its mistakes.

    `ids` are the ids of all lines.
    """
    if len(cells) != len(COLUMNS):
        return None, [("", f"has {len(cells)} tab-separated cells, not {len(COLUMNS)}")]
    row: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
    row |= {column: None for column in OPTIONAL if row[column] in ("", NONE)}
    if re.fullmatch("-?[0-9]{1,30}", row["seed"]):
        row["seed"] = int(row["seed"])
    try:
        run = Run.model_validate(row)
    except ValidationError as error:
        found = mistakes_of(error, row, Run)
        return None, [(str(column), message) for (column,), message in found]
    return run, [*_mistakes(run, ids)]


def _mistakes(run: Run, ids: set[str]) -> Iterator[Mistake]:
    """Cells of a row that do not fit its method or the other rows' ids."""
    if run.id in METHODS and METHODS[run.id].needs_target:
        yield "id", f"{run.id} is the name of a method; name the run otherwise"
    if run.id in RESERVED:
        yield "id", f"{run.id} is {RESERVED[run.id]}; name the run otherwise"
    method = METHODS.get(run.method)
    if method is None:
        yield "method", f"unknown method {run.method}, {did_you_mean(run.method, METHODS)}"
        return
    if method.starts:
        known = _starts(method, ids - {run.id})
        if run.start not in known:
            start = run.start or NONE
            yield "start", f"unknown start {start}, {did_you_mean(start, known)}"
    elif run.start is not None:
        yield "start", f"{run.method} has no start; write {NONE}"
    if run.rates is not None and not method.learned:
        yield "rates", f"{run.method} learns nothing; write {NONE}"
    for column, name in (("target", run.target), ("source", run.source)):
        if method.needs_target and name is None:
            yield column, f"{run.method} needs a {column}"
        if not method.needs_target and name is not None:
            yield column, f"{run.method} has no {column}; write {NONE}"


def _starts(method: Method, ids: set[str]) -> list[str]:
    """The legal starts of a run of this method: methods that build operators, earlier runs.

    A method that calibrates is named by a run of its own, which is built once for all that start
    from it.
    """
    chosen = [
        name
        for name, other in METHODS.items()
        if other.module and not other.starts and not other.calibrates
    ]
    return [
        *(chosen if "method" in method.starts else []),
        *(sorted(ids) if "run" in method.starts else []),
    ]
