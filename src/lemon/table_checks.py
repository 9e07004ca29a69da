"""What the tables of `paper.yaml` must agree on with the runs, the targets and the paper."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from lemon.config_files import Document, Place, Problem, did_you_mean
from lemon.registry import TASKS, Comparison, PaperEntry, TableSpec

PUBLISHED = Path(__file__).parent / "published"


def check_tables(
    tables: dict[str, PaperEntry],
    document: Document,
    run_ids: Iterable[str],
    targets: Iterable[str],
) -> Iterator[Problem]:
    """Everything that a table names and nothing provides, and comparisons that make no sense."""
    runs, targets = list(run_ids), list(targets)
    for name, table in tables.items():
        file = getattr(table, "published", None)
        published = _published(PUBLISHED / file) if file else {}
        if file and not published:
            known = sorted(path.name for path in PUBLISHED.glob("*.csv"))
            message = f"no file {file}, {did_you_mean(file, known)}"
            yield document.problem((name, "published"), message)
        if not isinstance(table, TableSpec):
            continue
        for task in table.tasks:
            if task not in TASKS:
                message = f"unknown task {task}, {did_you_mean(task, TASKS)}"
                yield document.problem((name, "tasks"), message)
        for index, row in enumerate(table.rows):
            place: Place = (name, "rows", index)
            printed = (row.published_method or "", str(row.published_layers or ""))
            if published and not row.ours and printed not in published:
                message = f"{table.published} has no row {' at '.join(printed)} layers"
                yield document.problem((*place, "published_method"), message)
            if row.target is not None and targets and row.target not in targets:
                message = f"unknown target {row.target}, {did_you_mean(row.target, targets)}"
                yield document.problem((*place, "target"), message)
            for run in row.runs:
                if runs and run not in runs:
                    message = f"no run {run}, {did_you_mean(run, runs)}"
                    yield document.problem((*place, "runs"), message)
                elif table.runs.count(run) > 1:
                    yield document.problem((*place, "runs"), f"{run} fills more than one place")
        for index, pair in enumerate(table.comparisons):
            for key, message in _comparison_mistakes(table, pair, published):
                yield document.problem((name, "comparisons", index, key), message)


def _comparison_mistakes(
    table: TableSpec, pair: Comparison, published: dict[tuple[str, str], float | None]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a comparison, as (key, message); `published` holds printed averages."""
    if pair.claim is not None and pair.claim not in (known := claim_ids()):
        yield "claim", f"claims.csv has no {pair.claim}, {did_you_mean(pair.claim, known)}"
    row_of = {run: row for row in table.rows for run in row.runs}
    for key, run in (("first", pair.first), ("second", pair.second)):
        if run not in row_of:
            yield key, f"{run} fills no row of the table, {did_you_mean(run, row_of)}"
    rows = [row_of[run] for run in (pair.first, pair.second) if run in row_of]
    if len(rows) < 2:
        return
    if rows[0] is rows[1]:
        yield "second", f"{pair.first} and {pair.second} fill the same row"
    printed = [
        published.get((row.published_method or "", str(row.published_layers))) for row in rows
    ]
    first, second = printed
    if first is not None and second is not None and first < second:
        yield (
            "first",
            f"the paper has it below the second ({first} against {second}); a comparison says "
            "what the paper says, so swap them",
        )


def _published(path: Path) -> dict[tuple[str, str], float | None]:
    """The printed average of each (method, layers) of a published table; empty without the file."""
    averages: dict[tuple[str, str], float | None] = {}
    if not path.is_file():
        return averages
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = (row.get("method", ""), row.get("layers", ""))
            averages.setdefault(place, None)
            if row.get("task") == "average":
                averages[place] = float(row["value"])
    return averages


def claim_ids() -> list[str]:
    """The ids of the paper's claims."""
    with (PUBLISHED / "claims.csv").open(encoding="utf-8", newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]
