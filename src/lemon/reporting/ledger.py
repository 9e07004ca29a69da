"""Writes the claims ledger of a preset: every claim with its verdict, from what is made so far."""

from __future__ import annotations

import time
from pathlib import Path

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import write_text
from lemon.reporting.claims.ledger import judgements
from lemon.reporting.facts.errata import errata
from lemon.reporting.facts.evidence import Evidence, evidence
from lemon.reporting.tables.document import WordedTable
from lemon.reporting.tables.ledger import ledger_table
from lemon.reporting.tables.rendering import render


def write_ledger(project: Project, results: Path, out: Path) -> None:
    """Write the page `out`, beside it the CSV and, last, the manifest of its stem.

    Args:
        project: the preset with its tables and figures.
        results: the folder that contains `tables/` and `figures/`.
        out: the Markdown file.

    Raises:
        BadInput: nothing is made yet, or a manifest is damaged.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    found, worded = gathered_ledger(project, results)
    numbers = out.with_suffix(".csv")
    write_text(numbers, worded.frame.to_csv(index=False))
    write_text(out, render(worded, "md"))
    write_manifest(
        out.with_suffix(".manifest.json"),
        "claims",
        started=started,
        files=[numbers, out],
        inputs=dict(found.inputs),
        **worded.manifest,
    )


def gathered_ledger(project: Project, results: Path) -> tuple[Evidence, WordedTable]:
    """The evidence and the ledger that follows from it; errors as of `write_ledger`."""
    found = evidence(project, results)
    if not found.inputs:
        raise BadInput(f"{results}: holds no table or figure yet; `make all` makes them")
    return found, ledger_table(found.setup, judgements(found), errata())
