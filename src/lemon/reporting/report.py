"""One self-contained page: the claims ledger, then all tables and figures of a preset."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import checked_file, read_manifest
from lemon.files.storage import write_text
from lemon.reporting.facts.evidence import manifest_path
from lemon.reporting.ledger import gathered_ledger
from lemon.reporting.tables.rendering import filled


def write_report(project: Project, results: Path, out: Path) -> None:
    """Write the page; entries that are not made yet are marked.

    Args:
        project: the preset with its tables and figures.
        results: the folder that contains `tables/` and `figures/`.
        out: the HTML file.

    Raises:
        BadInput: nothing is made yet, or a manifest is damaged.
        WorkFailed: the file can't be written.
    """
    _, ledger = gathered_ledger(project, results)
    entries = [_entry(project, name, results) for name in project.tables]
    write_text(
        out,
        filled(
            "report.html",
            title=f"LEMON reproduced: preset {project.preset_name}",
            source=project.preset.source.label,
            description=project.preset.description,
            ledger=ledger,
            entries=entries,
        ),
    )


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
