"""Writes a table of the paper: gathers its facts, then writes CSV, three text formats, a picture.

The output depends only on the facts; the modules that make it do not read the project.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

from lemon.configuration.load import siblings
from lemon.configuration.paper import SizesSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import atomic_file, write_text
from lemon.reporting.facts.accuracy import accuracy_facts
from lemon.reporting.facts.dense_scores import dense_facts
from lemon.reporting.facts.hyper_parameters import hyper_parameters
from lemon.reporting.facts.model_sizes import model_sizes
from lemon.reporting.facts.operator_sizes import operator_sizes
from lemon.reporting.facts.setup import setup_of
from lemon.reporting.facts.tuning import tuning_facts
from lemon.reporting.style import TABLE_STYLE
from lemon.reporting.tables.accuracy import accuracy_table
from lemon.reporting.tables.dense import dense_table
from lemon.reporting.tables.document import WordedTable
from lemon.reporting.tables.hyper_parameters import hyper_parameters_table
from lemon.reporting.tables.model_sizes import model_sizes_table
from lemon.reporting.tables.operator_sizes import operator_sizes_table
from lemon.reporting.tables.picture import draw_scores
from lemon.reporting.tables.plain_picture import draw_sections
from lemon.reporting.tables.rendering import FORMATS, filled
from lemon.reporting.tables.tuning import tuning_table

KINDS = ("csv", *FORMATS, "png")
# Renderer -> (gathers the facts from the project, the runs and their text, makes numbers and text).
RENDERERS: dict[
    str, tuple[Callable[[Project, str, Path, Path | None], Any], Callable[[Any], WordedTable]]
] = {
    "accuracy_table": (accuracy_facts, accuracy_table),
    "dense_scores": (dense_facts, dense_table),
    "operator_sizes": (operator_sizes, operator_sizes_table),
    "hyper_parameters": (hyper_parameters, hyper_parameters_table),
    "model_sizes": (model_sizes, model_sizes_table),
    "tuning_trials": (tuning_facts, tuning_table),
}


def write_table(
    project: Project, table: str, runs: Path, out: Path, text: Path | None = None
) -> None:
    """Write `table`.{csv,md,tex,html,png} and, last, `table`.manifest.json into `out`.

    Args:
        project: the preset with its tables.
        table: a table of `paper.yaml`.
        runs: the folder of the runs' folders, each with `outcomes/`; not read for tables of sizes.
        out: folder of the files; created if missing.
        text: the packed text that the runs were scored on; None if they were scored on none.

    Raises:
        BadInput: no such table or renderer, a run is not evaluated or its training is incomplete,
            two runs can't be compared, or `text` is not what they were scored on.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    entry = project.entry(table)
    if entry.renderer not in RENDERERS:
        raise BadInput(
            f"paper.yaml, {table}: no renderer {entry.renderer!r}; there is {', '.join(RENDERERS)}"
        )
    gather, word = RENDERERS[entry.renderer]
    number = table.removeprefix("table")
    title = f"Table {number}. {entry.title}" if number.isdigit() else entry.title
    page = replace(word(gather(project, table, runs, text)), title=title)
    write_text(out / f"{table}.csv", page.frame.to_csv(index=False))
    for suffix in FORMATS:
        write_text(out / f"{table}.{suffix}", filled(f"table.{suffix}", table=page))
    with matplotlib.rc_context(TABLE_STYLE), atomic_file(out / f"{table}.png") as path:
        draw_scores(page, page.scores, path) if page.scores else draw_sections(page, path)
    settings: dict[str, Any] = {**setup_of(project).in_manifest(table=table)}
    if isinstance(entry, SizesSpec):  # made from the configurations of all presets
        del settings["config"]
        settings["presets"] = {one.preset_name: one.digest() for one in siblings(project)}
    write_manifest(
        out / f"{table}.manifest.json",
        "table",
        started=started,
        files=[out / f"{table}.{kind}" for kind in KINDS],
        settings=settings,
        **page.manifest,
    )
