"""Write a table of the paper: tidy CSV, three renderings of it, a picture, and a manifest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import atomic_file, write_text
from lemon.reporting.claims.orderings import ordering_tests
from lemon.reporting.facts.costs import row_costs
from lemon.reporting.facts.outcomes import outcomes_digest, read_runs
from lemon.reporting.facts.protocol import protocols
from lemon.reporting.facts.rows import scored_rows
from lemon.reporting.facts.scores import tidy_table
from lemon.reporting.tables.accuracy import table_document
from lemon.reporting.tables.dense_document import write_dense_scores
from lemon.reporting.tables.picture import draw_accuracy_table
from lemon.reporting.tables.rendering import FORMATS, render
from lemon.reporting.tables.sizes_tables import write_model_sizes, write_operator_sizes

KINDS = ("csv", *FORMATS, "png")


def write_table(project: Project, table: str, runs: Path, out: Path) -> None:
    """Write `table`.{csv,md,tex,html,png} and, last, `table`.manifest.json into `out`.

    Args:
        project: the preset with its registry of tables.
        table: a table of `paper.yaml`.
        runs: the folder that holds one folder a run, each with `outcomes/`; not read for sizes.
        out: folder of the files; made where it isn't there.

    Raises:
        BadInput: no such table or renderer, a run is not evaluated or did not learn to its end, or
            two runs can't be compared.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    renderer = project.entry(table).renderer
    if renderer not in RENDERERS:
        raise BadInput(
            f"paper.yaml, {table}: no renderer {renderer!r}; there is {', '.join(RENDERERS)}"
        )
    RENDERERS[renderer](project, table, runs, out, started)


def _accuracy_table(project: Project, table: str, runs: Path, out: Path, started: float) -> None:
    """Methods by depth, tasks, their mean, and held-out perplexity: Table 3 and its kin."""
    spec = project.table(table)
    tasks = tuple(spec.tasks)
    results = read_runs(runs, project.table_runs(table), tasks)
    rows = scored_rows(project, table, results)
    costs = row_costs(project, rows, runs)
    frame = tidy_table(project, table, rows, costs)
    tests = ordering_tests(project, table, rows)
    shown = protocols(results, tasks)
    document = table_document(project, table, frame, tests, costs, shown)
    write_text(out / f"{table}.csv", frame.to_csv(index=False))
    for suffix in FORMATS:
        write_text(out / f"{table}.{suffix}", render(document, suffix))
    with atomic_file(out / f"{table}.png") as path:
        draw_accuracy_table(frame, tasks, document, path)
    write_manifest(
        out / f"{table}.manifest.json",
        "table",
        settings={"preset": project.preset_name, "table": table, "config": project.digest()},
        inputs={run: outcomes_digest(runs / run, project.table_suites(table)) for run in results},
        started=started,
        comparisons=[asdict(test) for test in tests],
        learning=[asdict(cost) for cost in costs],
        departures=[asdict(departure) for departure in document.departures],
        files=[out / f"{table}.{kind}" for kind in KINDS],
    )


RENDERERS: dict[str, Callable[[Project, str, Path, Path, float], None]] = {
    "accuracy_table": _accuracy_table,
    "dense_scores": write_dense_scores,
    "operator_sizes": write_operator_sizes,
    "model_sizes": write_model_sizes,
}
