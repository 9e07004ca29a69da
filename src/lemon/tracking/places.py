"""Where a run stands: its rows in the tables, which ours and the paper's run share as a tag."""

from __future__ import annotations

from dataclasses import dataclass

from lemon.configuration.paper import TableRow, TableSpec
from lemon.configuration.project import Project
from lemon.published.tables import PublishedRow, published_row

ROW = "row/"  # before the table's name: the tag of a run that says in which of its rows it stands


@dataclass(frozen=True)
class Place:
    """One row of a table or figure of scored runs.

    Attributes:
        number: from 1, in the order of the table; `rows` are all of them.
        published: the paper's row beside it.
    """

    table: str
    spec: TableSpec
    row: TableRow
    number: int
    published: PublishedRow | None

    def tag(self, seed: int | None = None) -> dict[str, str]:
        """The tag of the runs in this row. Sorted by it they are in the order of the table, and
        behind each row, the paper's and ours, the seeds that it is the mean of.
        """
        digits = len(str(len(self.spec.rows)))
        one_of = f"seed {seed}" if seed is not None and len(self.row.runs) > 1 else None
        words = ", ".join(filter(None, (self.row.label, self.row.target, one_of)))
        return {f"{ROW}{self.table}": f"{self.number:0{digits}d} {words}"}


def places(project: Project) -> list[Place]:
    """Every row of every table and figure of scored runs, in the order of `paper.yaml`."""
    found = []
    for table, spec in project.tables.items():
        if not isinstance(spec, TableSpec):
            continue
        for number, row in enumerate(spec.rows, start=1):
            method, layers, published = row.published_method, row.published_layers, None
            if spec.published and method and layers:
                published = published_row(spec.published, method, layers)
            found.append(Place(table, spec, row, number, published))
    return found


def tags_of(shown: list[Place], seed: int | None = None) -> dict[str, str]:
    """The tags of the runs that stand in all of these rows; `seed` is that of a single run."""
    return {key: text for place in shown for key, text in place.tag(seed).items()}
