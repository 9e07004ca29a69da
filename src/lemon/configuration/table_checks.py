"""What the tables of `paper.yaml` must agree on with the runs, the targets and the paper."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from lemon.configuration.methods import METHODS, SECOND_SIZE
from lemon.configuration.paper import Comparison, PaperEntry, TableRow, TableSpec
from lemon.configuration.preset_checks import task_mistakes
from lemon.configuration.runs import Run
from lemon.configuration.yaml_files import Document, Problem, did_you_mean

PUBLISHED = Path(__file__).parents[1] / "published"
Averages = dict[tuple[str, str], float | None]
"""The printed average of each (method, layers) of a published table, where it has one."""

SCORES = {"method", "layers", "task", "value"}
RULES = {
    *("all", "fetch", "prepare_source", "prepare_second_size", "prepare_text", "prepare_tasks"),
    *("build", "learn", "fuse", "evaluate", "evaluate_main", "evaluate_dense", "cka", "table"),
    *("figure_numbers", "figure", "report", "track", "environment", "help", "check", "test"),
    *("style", "types", "pytest", "ui", "plan", "bench", "doctor", "lock"),
}
"""Rules of the workflow, and targets of the Makefile, that no table can be made beside."""

COLUMNS = {
    "accuracy_table": SCORES,
    "receptive_field_grid": SCORES,
    "dense_scores": {"model", "tasks", "name", "shots", "protocol", "value", "source"},
}
"""By renderer: the columns of the published file that it reads."""


def check_tables(
    tables: dict[str, PaperEntry],
    document: Document,
    runs: Mapping[str, Run],
    run_ids: Collection[str],
    targets: Collection[str],
) -> Iterator[Problem]:
    """Everything that a table names and nothing provides, and rows that make no sense.

    Args:
        tables: of `paper.yaml`.
        document: the file, for the lines.
        runs: the runs without mistakes.
        run_ids: every id in `runs.tsv`; empty where that can't be read, as `targets`.
        targets: of the preset.
    """
    claims, known = claim_ids(), sorted(path.name for path in PUBLISHED.glob("*.csv"))
    for name, table in tables.items():
        file = getattr(table, "published", None)
        fault = _published_fault(table, file, known) if file else None
        if fault:
            yield document.problem((name, "published"), fault)
        if name in RULES:
            message = "is the name of a rule or of a target of make; name it otherwise"
            yield document.problem((name,), message)
        if isinstance(table, TableSpec):
            published: Averages = {}
            if file and not fault and COLUMNS[table.renderer] is SCORES:
                published = _averages(PUBLISHED / file)
            yield from _check_table(name, table, document, published, claims)
            yield from _check_runs(name, table, document, runs, run_ids, targets)


def _published_fault(table: PaperEntry, file: str, known: list[str]) -> str | None:
    """Why a published file can't be read as the renderer reads it; None where it can."""
    if file not in known:
        return f"no file {file}, {did_you_mean(file, known)}"
    columns = COLUMNS.get(table.renderer, set())
    if not columns <= _columns(PUBLISHED / file):
        return f"{file} lacks columns that {table.renderer} reads: {', '.join(sorted(columns))}"
    return None


def _check_table(
    name: str, table: TableSpec, document: Document, published: Averages, claims: list[str]
) -> Iterator[Problem]:
    """Tasks, what was published, and comparisons."""
    for message in task_mistakes(table.tasks):
        yield document.problem((name, "tasks"), message)
    for index, row in enumerate(table.rows):
        printed = _printed(row)
        if published and not row.ours and printed not in published:
            message = f"{table.published} has no row {' at '.join(printed)} layers"
            yield document.problem((name, "rows", index, "published_method"), message)
    row_of = {run: row for row in table.rows for run in row.runs}
    tested: dict[tuple[int, int], int] = {}
    for index, pair in enumerate(table.comparisons):
        for key, message in _comparison_mistakes(pair, row_of, published, claims):
            yield document.problem((name, "comparisons", index, key), message)
        if pair.first in row_of and pair.second in row_of:
            rows = (id(row_of[pair.first]), id(row_of[pair.second]))
            if rows in tested:
                message = f"compares the same rows as comparison {tested[rows]}; test them once"
                yield document.problem((name, "comparisons", index, "second"), message)
            tested.setdefault(rows, index + 1)


def _check_runs(
    name: str,
    table: TableSpec,
    document: Document,
    runs: Mapping[str, Run],
    run_ids: Collection[str],
    targets: Collection[str],
) -> Iterator[Problem]:
    """The target of every row, and the runs that fill it."""
    count = Counter(table.runs)
    for index, row in enumerate(table.rows):
        if row.target is not None and targets and row.target not in targets:
            message = f"unknown target {row.target}, {did_you_mean(row.target, targets)}"
            yield document.problem((name, "rows", index, "target"), message)
        for run in row.runs:
            if run_ids and run not in run_ids:
                message = f"no run {run}, {did_you_mean(run, run_ids)}"
                yield document.problem((name, "rows", index, "runs"), message)
            elif count[run] > 1:
                message = f"{run} fills more than one place"
                yield document.problem((name, "rows", index, "runs"), message)
        for message in _row_mistakes(table, row, [runs[run] for run in row.runs if run in runs]):
            yield document.problem((name, "rows", index, "runs"), message)


def _row_mistakes(table: TableSpec, row: TableRow, runs: list[Run]) -> Iterator[str]:
    """Runs of a row that are not of its target, or not one method at several seeds."""
    for run in runs:
        if run.method == SECOND_SIZE:
            yield f"{run.id} is a second size, which figures compare and no table scores"
        elif table.renderer == "dense_scores" and run.method != "source":
            yield f"{run.id} is not the source model, the only one of a table of dense scores"
        elif run.target != row.target:
            own, other = run.target or "none", row.target or "none"
            yield f"{run.id} has target {own} in runs.tsv, the row {other}; they must be the same"
        elif METHODS[run.method].needs_target and not _one_method(run, runs[0]):
            yield f"{run.id} is not {runs[0].id} at another seed; give it a row of its own"


def _one_method(run: Run, first: Run) -> bool:
    same = run.model_dump(exclude={"id", "seed"}) == first.model_dump(exclude={"id", "seed"})
    return run.id == first.id or (same and run.seed != first.seed)


def _comparison_mistakes(
    pair: Comparison, row_of: dict[str, TableRow], published: Averages, claims: list[str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a comparison, as (key, message)."""
    if pair.claim is not None and pair.claim not in claims:
        yield "claim", f"claims.csv has no {pair.claim}, {did_you_mean(pair.claim, claims)}"
    for key, run in (("first", pair.first), ("second", pair.second)):
        if run not in row_of:
            yield key, f"{run} fills no row of the table, {did_you_mean(run, row_of)}"
    rows = [row_of[run] for run in (pair.first, pair.second) if run in row_of]
    if len(rows) < 2:
        return
    if rows[0] is rows[1]:
        yield "second", f"{pair.first} and {pair.second} fill the same row"
    first, second = (published.get(_printed(row)) for row in rows)
    if first is not None and second is not None and first < second:
        yield (
            "first",
            f"the paper has it below the second ({first} against {second}); a comparison says "
            "what the paper says, so swap them",
        )


def _printed(row: TableRow) -> tuple[str, str]:
    return row.published_method or "", str(row.published_layers or "")


def _columns(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return set(csv.DictReader(file).fieldnames or ())


def _averages(path: Path) -> Averages:
    averages: Averages = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = (row["method"], row["layers"])
            averages.setdefault(place, None)
            if row["task"] == "average":
                averages[place] = float(row["value"])
    return averages


def claim_ids() -> list[str]:
    """The ids of the paper's claims."""
    with (PUBLISHED / "claims.csv").open(encoding="utf-8", newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]
