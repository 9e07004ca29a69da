"""What is put together from all that is made: the claims ledger, and one page with everything."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import checked_file, read_manifest, write_manifest
from lemon.files.storage import write_text
from lemon.reporting.claims.ledger import judgements
from lemon.reporting.facts.errata import errata
from lemon.reporting.facts.evidence import Evidence, evidence, manifest_path
from lemon.reporting.tables.document import WordedTable
from lemon.reporting.tables.ledger import ledger_table
from lemon.reporting.tables.rendering import filled


def gathered_ledger(project: Project, results: Path) -> tuple[Evidence, WordedTable]:
    """The evidence of what is made so far, and the ledger that follows from it.

    `results` is the folder that contains `tables/` and `figures/`.

    Raises:
        BadInput: nothing is made yet, or a manifest is damaged.
    """
    found = evidence(project, results)
    if not found.inputs:
        raise BadInput(f"{results}: holds no table or figure yet; `make all` makes them")
    return found, ledger_table(found.setup, judgements(found), errata())


def write_ledger(project: Project, results: Path, out: Path) -> None:
    """Write the ledger to the Markdown file `out`, beside it its CSV and, last, its manifest.

    Raises:
        BadInput: as of `gathered_ledger`.
        WorkFailed: a file can't be written.
    """
    started = time.monotonic()
    found, worded = gathered_ledger(project, results)
    numbers = out.with_suffix(".csv")
    write_text(numbers, worded.frame.to_csv(index=False))
    write_text(out, filled("table.md", table=worded))
    write_manifest(
        out.with_suffix(".manifest.json"),
        "claims",
        started=started,
        files=[numbers, out],
        inputs=dict(found.inputs),
        **worded.manifest,
    )


def write_report(project: Project, results: Path, out: Path) -> None:
    """Write the ledger, then all tables and figures of a preset, to one self-contained HTML file.

    Entries that are not made yet are marked.

    Raises:
        BadInput: as of `gathered_ledger`.
        WorkFailed: the file can't be written.
    """
    page = filled(
        "report.html",
        title=f"LEMON reproduced: preset {project.preset_name}",
        source=project.preset.source.label,
        description=project.preset.description,
        ledger=gathered_ledger(project, results)[1],
        entries=[_entry(project, name, results) for name in project.tables],
    )
    write_text(out, page)


def _entry(project: Project, name: str, results: Path) -> dict[str, Any]:
    """A table or figure for the template; `made` says by which commit and when, None if it is not.

    A table has a body, a figure its picture and findings.
    """
    spec, made_by = project.entry(name), manifest_path(project, name, results)
    entry: dict[str, Any] = {"name": name, "title": spec.title, "made": None, "picture": None}
    if not made_by.is_file():
        return entry
    manifest, folder = read_manifest(made_by), made_by.parent
    commit = (manifest.get("code") or {}).get("commit") or "outside of a checkout"
    entry["made"] = f"{commit[:10]}, {(manifest.get('finished') or 'no date')[:10]}"
    if spec.is_figure:
        png = base64.b64encode(checked_file(folder / f"{name}.png", made_by).read_bytes()).decode()
        findings = manifest.get("findings", ())
        return {**entry, "picture": f"data:image/png;base64,{png}", "findings": findings}
    text = checked_file(folder / f"{name}.html", made_by).read_text(encoding="utf-8")
    found = re.search(r"<body[^>]*>(.*)</body>", text, re.S)
    if found is None:
        raise BadInput(f"{folder / name}.html: is not a rendered table; remove it, rerun")
    lowered = re.sub(r"<(/?)h([12])>", lambda m: f"<{m[1]}h{int(m[2]) + 1}>", found[1])
    return {**entry, "body": lowered}
