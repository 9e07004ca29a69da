"""Read `runs.tsv`: one row, one run; every mistake with its line and column."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from lemon.config_files import Problem, did_you_mean
from lemon.registry import METHODS, MethodInfo, Run

COLUMNS = tuple(Run.model_fields)
NONE = "-"


def read_runs(path: Path, problems: list[Problem]) -> tuple[dict[str, Run], dict[str, int]]:
    """The runs by id, in the order of the file, and the line of each.

    Rows with mistakes are left out of the result and added to `problems`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path, 1, "", f"can't be read: {error}"))
        return {}, {}
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        columns = " ".join(COLUMNS)
        problems.append(Problem(path, 1, "", f"the first line must name, tab-separated, {columns}"))
        return {}, {}
    runs: dict[str, Run] = {}
    line_of: dict[str, int] = {}
    ids = {line.split("\t")[0] for line in lines[1:] if line.strip()}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            message = f"has {len(cells)} tab-separated cells, not {len(COLUMNS)}"
            problems.append(Problem(path, number, "", message))
            line_of.setdefault(cells[0], number)
            continue
        row = dict(zip(COLUMNS, cells, strict=True))
        found = [Problem(path, number, key, text) for key, text in _mistakes(row, ids)]
        if row["id"] in line_of:
            first = line_of[row["id"]]
            found.append(Problem(path, number, "id", f"{row['id']} is already on line {first}"))
        line_of.setdefault(row["id"], number)
        problems += found
        if not found:
            runs[row["id"]] = _run(row)
    return runs, line_of


def _run(row: dict[str, str]) -> Run:
    values = {key: None if cell == NONE else cell for key, cell in row.items()}
    return Run.model_validate({**values, "seed": int(row["seed"])})


def _mistakes(row: dict[str, str], ids: set[str]) -> list[tuple[str, str]]:
    """What is wrong with a row as such, as (column, message); `ids` are those of all rows."""
    found = []
    if not (row["seed"].isascii() and row["seed"].isdigit()):
        found.append(("seed", f"must be a whole number of at least 0, not {row['seed']!r}"))
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


def _starts(method: MethodInfo, ids: set[str]) -> list[str]:
    """What a run of this method may start from: methods that choose operators, earlier runs."""
    chosen = [name for name, info in METHODS.items() if info.needs_target and not info.learned]
    methods = [name for name in chosen if not METHODS[name].starts]
    return (methods if "method" in method.starts else []) + (
        sorted(ids) if "run" in method.starts else []
    )
