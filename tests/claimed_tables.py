"""Tables' manifests that bear on claims, made up, and what the ledger makes of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.files.manifest import FORMAT_VERSION, write_manifest
from lemon.reporting.claims.ledger import Judgement, judgements
from lemon.reporting.claims.verdict import BELOW_FLOOR, UNRESOLVED
from lemon.reporting.facts.evidence import evidence

BITS, SHARE, LOSS = "answer_bits_per_byte", "answer_share", "loss"
CALIBRATED = "calibrated_loss"
MEASURES = (BITS, SHARE, LOSS, CALIBRATED)  # but accuracy


def measured(verdict: str, first: float = 2.0, second: float = 3.0, **given: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"measure": "", "first": first, "second": second}
    usual |= {"difference": first - second, "low": -1.1, "high": -0.9, "detectable": 0.25}
    usual |= {"margin": None, "right": 1, "pairs": 1, "p_value": 0.001, "p_adjusted": 0.002}
    return {**usual, "verdict": verdict, **given}


def comparison(claim: str | None, first: str, second: str, found: str, **given: Any) -> dict:
    """As a table's manifest has it: on the measures alike, but unresolved on accuracy."""
    usual: dict[str, Any] = {
        **{"claim": claim, "statement": None, "first": "First", "second": "Second"},
        **{"first_runs": [first], "second_runs": [second], "layers": 22, "gains": []},
        **{"published_layers": None, "published_difference": None, "equivalent": False},
        **{"not_tested": None, "below_floor": found == BELOW_FLOOR, "tasks": []},
        "measures": {
            "accuracy": measured(BELOW_FLOOR if found == BELOW_FLOOR else UNRESOLVED),
            **{name: measured(found) for name in MEASURES},
        },
    }
    return {**usual, **given}


def write_table(
    results: Path, name: str, *comparisons: dict, version: int = FORMAT_VERSION
) -> Path:
    path = results / "tables" / f"{name}.manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tested = list(comparisons)
    write_manifest(
        path, "table", started=time.monotonic(), comparisons=tested, format_version=version
    )
    return path


def judged(project: Project, results: Path) -> dict[str, Judgement]:
    return {one.claim: one for one in judgements(evidence(project, results))}
