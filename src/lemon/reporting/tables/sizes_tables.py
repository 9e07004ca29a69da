"""Write a table of sizes: nothing is run or read for it but the configuration."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lemon.configuration.load import siblings
from lemon.configuration.project import Project
from lemon.files.manifest import write_manifest
from lemon.files.storage import atomic_file, write_text
from lemon.reporting.facts.model_sizes import model_frame, model_lines
from lemon.reporting.facts.operator_sizes import fusions, operator_frame
from lemon.reporting.tables.document import SizesDocument
from lemon.reporting.tables.model_sizes_document import model_sizes_document
from lemon.reporting.tables.operator_sizes_document import operator_sizes_document
from lemon.reporting.tables.plain_picture import draw_sizes
from lemon.reporting.tables.rendering import FORMATS, render


def write_operator_sizes(
    project: Project, table: str, runs: Path, out: Path, started: float
) -> None:
    """Operators of every preset, beside Table 1."""
    found = fusions(project)
    document = operator_sizes_document(project, table, found)
    _write(project, table, operator_frame(found), document, out, started)


def write_model_sizes(project: Project, table: str, runs: Path, out: Path, started: float) -> None:
    """Models of every preset, beside Table 5.

    Raises:
        WorkFailed: a computed count is not that of Hugging Face's own model.
    """
    lines = model_lines(project)
    frame = model_frame(lines)
    _write(project, table, frame, model_sizes_document(project, table, lines), out, started)


def _write(
    project: Project,
    table: str,
    frame: pd.DataFrame,
    document: SizesDocument,
    out: Path,
    started: float,
) -> None:
    """The files of a table; the manifest comes last."""
    files = write_renderings(out, table, frame, document)
    write_manifest(
        out / f"{table}.manifest.json",
        "table",
        settings={
            "preset": project.preset_name,
            "table": table,
            "presets": {sibling.preset_name: sibling.digest() for sibling in siblings(project)},
        },
        started=started,
        files=files,
    )


def write_renderings(
    out: Path, table: str, frame: pd.DataFrame, document: SizesDocument
) -> list[Path]:
    """Write a table in every format; the files."""
    write_text(out / f"{table}.csv", frame.to_csv(index=False))
    for suffix in FORMATS:
        write_text(out / f"{table}.{suffix}", render(document, suffix))
    with atomic_file(out / f"{table}.png") as path:
        draw_sizes(document, path)
    return [out / f"{table}.{kind}" for kind in ("csv", *FORMATS, "png")]
