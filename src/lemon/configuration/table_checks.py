"""Checks of the tables and figures of `paper.yaml` against the runs, the targets and the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.resources import files

from lemon.configuration.figure_checks import curve_mistakes, figure_mistakes, merge_mistakes
from lemon.configuration.figure_specs import CurvesSpec, FigureSpec, MergesSpec
from lemon.configuration.methods import SECOND_SIZE
from lemon.configuration.paper import Comparison, PaperEntry, TableRow, TableSpec
from lemon.configuration.preset_checks import task_mistakes
from lemon.configuration.runs import Run
from lemon.configuration.yaml_files import Mistake, did_you_mean
from lemon.published.tables import published_claims, published_rows, published_table

Averages = dict[tuple[str | None, int | None], float | None]
"""The printed average of each (method, layers) of a published table; None if it prints none."""

SCORES = {"method", "layers", "task", "value"}
RULES = {
    *("all", "everything", "fetch", "prepare_source", "prepare_second_size", "prepare_text"),
    *("prepare_tasks", "trial", "build", "learn", "pretrain", "pretrain_with_snapshots", "fuse"),
    *("evaluate", "evaluate_main", "evaluate_dense", "cka", "match", "time", "unpack", "table"),
    *("figure_numbers", "figure", "claims", "report", "track", "environment", "help", "check"),
    *("test", "style"),
    *("types", "pytest", "ui", "follow", "plan", "bench", "doctor", "lock", "bundle"),
    *("check-results", "check_results", "gpu-check"),
}
"""Rules of the workflow and targets of the Makefile, which can't be names of tables."""

COLUMNS = {
    "accuracy_table": SCORES,
    "receptive_field_grid": SCORES,
    "scores_by_tokens": SCORES,
    "quality_by_cost": SCORES,
    "dense_scores": {"model", "tasks", "name", "shots", "protocol", "value", "source"},
}
"""Renderer -> columns that it reads of the published file."""


def paper_mistakes(
    entries: Mapping[str, PaperEntry],
    runs: Mapping[str, Run],
    run_ids: Collection[str],
    targets: Collection[str],
) -> Iterator[Mistake]:
    """Unknown names in tables and figures, and rows or panels that do not fit together.

    `run_ids` are all in `runs.tsv`, `runs` those without mistakes. Ids and `targets` are empty
    where the file or the preset can't be read.
    """
    for name, entry in entries.items():
        fault = _published_fault(entry)
        if fault:
            yield (name, "published"), fault
        if name in RULES:
            yield (name,), "is the name of a rule or of a target of make; name it otherwise"
        mistakes: Iterable[Mistake] = ()
        if isinstance(entry, FigureSpec):
            mistakes = figure_mistakes(entry, runs, run_ids)
        elif isinstance(entry, CurvesSpec):
            mistakes = curve_mistakes(entry, runs, run_ids)
        elif isinstance(entry, MergesSpec):
            mistakes = merge_mistakes(entry, runs, run_ids)
        elif isinstance(entry, TableSpec):
            mistakes = (
                *((("tasks",), message) for message in task_mistakes(entry.tasks)),
                *_rows_mistakes(entry, entries),
                *_paper_mistakes(entry, {} if fault else _averages(entry)),
                *_run_mistakes(entry, runs, run_ids, targets),
            )
        for place, message in mistakes:
            yield (name, *place), message


def _published_fault(table: PaperEntry) -> str | None:
    """Why the renderer can't read the published file; None if it can."""
    file = getattr(table, "published", None)
    if file is None:
        return None
    names = sorted(path.name for path in (files("lemon") / "published").iterdir())
    known = [name for name in names if name.endswith(".csv")]
    if file not in known:
        return f"no file {file}, {did_you_mean(file, known)}"
    columns = COLUMNS.get(table.renderer, set())
    if not columns <= published_table(file)[0].keys():
        return f"{file} lacks columns that {table.renderer} reads: {', '.join(sorted(columns))}"
    return None


def _rows_mistakes(table: TableSpec, entries: Mapping[str, PaperEntry]) -> Iterator[Mistake]:
    """Rows that are lacking or come from two places, and options of another renderer."""
    gathers = table.renderer == "quality_by_cost"
    if gathers and table.rows:
        yield ("rows",), "has the rows of the tables in rows_of; leave rows out"
    if not gathers and not table.rows:
        yield ("rows",), "is empty; a table has at least one row"
    if gathers != bool(table.rows_of):
        lacking, alone = "names no table; name at least one", "goes with quality_by_cost alone"
        yield ("rows_of",), lacking if gathers else alone
    for name in table.rows_of:
        if name not in entries:
            yield ("rows_of",), f"no table {name}, {did_you_mean(name, entries)}"
        elif entries[name].renderer != "accuracy_table":
            yield ("rows_of",), f"{name} is no accuracy_table, the only kind whose rows are shown"
    if table.costs and table.renderer != "accuracy_table":
        yield ("costs",), "goes with accuracy_table alone"


def _averages(table: TableSpec) -> Averages:
    if table.published is None or COLUMNS[table.renderer] is not SCORES:
        return {}
    rows = published_rows(table.published)
    return {(row.method, row.layers): row.average for row in rows}


def _paper_mistakes(table: TableSpec, published: Averages) -> Iterator[Mistake]:
    """Rows and comparisons that contradict the paper, or are tested twice."""
    for index, row in enumerate(table.rows):
        if published and not row.ours and _printed(row) not in published:
            printed = f"{row.published_method} at {row.published_layers or ''}"
            message = f"{table.published} has no row {printed} layers"
            yield ("rows", index, "published_method"), message
    row_of = {run: number for number, row in enumerate(table.rows) for run in row.runs}
    tested: dict[tuple[object, ...], int] = {}
    for index, pair in enumerate(table.comparisons):
        place = ("comparisons", index)
        for key, message in _comparison_mistakes(pair, table, row_of, published):
            yield (*place, key), message
        if pair.first in row_of and pair.second in row_of and pair.not_tested is None:
            rows = (row_of[pair.first], row_of[pair.second], pair.than)
            first = tested.setdefault(rows, index)
            if first != index:
                message = f"compares the same rows as comparison {first + 1}; test them once"
                yield (*place, "second"), message


def _comparison_mistakes(
    pair: Comparison, table: TableSpec, row_of: dict[str, int], published: Averages
) -> Iterator[tuple[str, str]]:
    """Mistakes in a comparison, as (key, message)."""
    claims = published_claims()
    if pair.claim is not None and pair.claim not in claims:
        yield "claim", f"claims.csv has no {pair.claim}, {did_you_mean(pair.claim, claims)}"
    named = [("first", pair.first), ("second", pair.second)]
    if pair.than is not None:
        named += [("than", pair.than.first), ("than", pair.than.second)]
    for key, run in named:
        if run not in row_of:
            yield key, f"{run} fills no row of the table, {did_you_mean(run, row_of)}"
    if pair.than is not None and pair.relation == "equivalent":
        yield "than", "goes with relation: better alone"
    if pair.relation == "equivalent" and pair.margin is None:
        yield "relation", "needs a margin, within which the rows count as equally good"
    if pair.relation != "equivalent" and pair.margin is not None:
        yield "margin", "goes with relation: equivalent alone"
    rows = [table.rows[row_of[run]] for run in (pair.first, pair.second) if run in row_of]
    if len(rows) < 2:
        return
    if rows[0] is rows[1]:
        yield "second", f"{pair.first} and {pair.second} fill the same row"
    first, second = (published.get(_printed(row)) for row in rows)
    better = pair.relation == "better"
    if better and first is not None and second is not None and first < second:
        message = f"the paper has it below the second ({first} against {second}); a comparison "
        yield "first", message + "says what the paper says, so swap them"


def _printed(row: TableRow) -> tuple[str | None, int | None]:
    return row.published_method, row.published_layers


def _run_mistakes(
    table: TableSpec, runs: Mapping[str, Run], run_ids: Collection[str], targets: Collection[str]
) -> Iterator[Mistake]:
    """Mistakes in the target and the runs of each row."""
    count = Counter(table.runs)
    for index, row in enumerate(table.rows):
        if row.target is not None and targets and row.target not in targets:
            message = f"unknown target {row.target}, {did_you_mean(row.target, targets)}"
            yield ("rows", index, "target"), message
        messages = []
        for run in row.runs:
            if run_ids and run not in run_ids:
                messages.append(f"no run {run}, {did_you_mean(run, run_ids)}")
            elif count[run] > 1:
                messages.append(f"{run} fills more than one place")
        messages += _row_mistakes(table, row, [runs[run] for run in row.runs if run in runs], runs)
        for message in messages:
            yield ("rows", index, "runs"), message


def _row_mistakes(
    table: TableSpec, row: TableRow, runs: list[Run], known: Mapping[str, Run]
) -> Iterator[str]:
    """Runs of a row with another target, or that are not one method at several seeds."""
    for run in runs:
        if run.method == SECOND_SIZE:
            yield f"{run.id} is a second size, which figures compare and no table scores"
        elif table.renderer == "dense_scores" and run.method != "source":
            yield f"{run.id} is not the source model, the only one of a table of dense scores"
        elif run.target != row.target:
            own, other = run.target or "none", row.target or "none"
            yield f"{run.id} has target {own} in runs.tsv, the row {other}; they must be the same"
        elif table.renderer == "scores_by_tokens" and not run.traits.pretrains:
            yield f"{run.id} ({run.method}) is not pre-trained; name a run that is"
        elif run.traits.needs_target and not _one_method(run, runs[0], known):
            yield f"{run.id} is not {runs[0].id} at another seed; give it a row of its own"


def _one_method(run: Run, first: Run, known: Mapping[str, Run]) -> bool:
    """Whether a run is `first` or the same at another seed, its start included."""
    if run.id == first.id:
        return True
    apart = {"id", "seed", "start"}
    same = run.model_dump(exclude=apart) == first.model_dump(exclude=apart)
    own, other = known.get(run.start or ""), known.get(first.start or "")
    starts = _one_method(own, other, known) if own and other else run.start == first.start
    return same and starts and run.seed != first.seed
