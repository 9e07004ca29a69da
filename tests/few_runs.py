"""Tables with few of their runs, where more would show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from lemon.configuration.project import Project


def keep_runs(config: Path, table: str, runs: Sequence[str]) -> None:
    """Leave a table of a copied `paper.yaml` only these runs, and the comparisons between them."""
    yaml = YAML(typ="safe")
    file = config / "paper.yaml"
    entries = yaml.load(file)
    rows = [{**r, "runs": [n for n in r["runs"] if n in runs]} for r in entries[table]["rows"]]
    entries[table]["rows"] = [row for row in rows if row["runs"]]
    entries[table]["comparisons"] = [
        pair for pair in entries[table]["comparisons"] if {pair["first"], pair["second"]} <= {*runs}
    ]
    yaml.dump(entries, file)


def with_rows_of(project: Project, table: str, *runs: str) -> Project:
    """The project whose table has the rows of these runs alone, and no comparison."""
    spec = project.table(table)
    rows = tuple(row for row in spec.rows if {*runs} & {*row.runs})
    few = spec.model_copy(update={"rows": rows, "comparisons": ()})
    return replace(project, tables=project.tables | {table: few})
