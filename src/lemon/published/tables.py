"""The paper's score tables, read from the CSV files of `src/lemon/published`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from lemon.errors import BadInput

AVERAGE = "average"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table; all values in percent.

    Attributes:
        method: the row's name as printed.
        layers: decoder layers of the row's model.
        scores: by lm-eval task name.
        average: the mean as printed; None if the table prints none.
    """

    method: str
    layers: int
    scores: dict[str, float] = field(default_factory=dict)
    average: float | None = None

    def mean_over(self, tasks: Iterable[str]) -> float | None:
        """The mean of the row's cells, which may differ from the printed mean.

        None if the row lacks one of the tasks.
        """
        values = [self.scores.get(task) for task in tasks]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    def average_over(self, tasks: Iterable[str]) -> float | None:
        """The mean as printed if `tasks` are all of the row's, else the mean of its cells.

        A row without cells, as in Table 7, has its printed mean alone.
        """
        tasks = list(tasks)
        whole = not self.scores or set(tasks) == set(self.scores)
        return self.average if whole else self.mean_over(tasks)


@dataclass(frozen=True)
class PublishedScore:
    """A score published by the authors of the source model, or of the model it was tuned from.

    Attributes:
        model: the scored model.
        tasks: our nearest tasks; several if the score is their average.
        name: of the benchmark, as printed.
        shots, protocol: how it was measured.
        value: as printed.
        source: where it was published.
    """

    model: str
    tasks: tuple[str, ...]
    name: str
    shots: int
    protocol: str
    value: float
    source: str


def published_rows(table: str) -> list[PublishedRow]:
    """All rows of a published score table, in the paper's order; `table` may end in `.csv`.

    Raises:
        BadInput: there is no such file, or it holds no scores.
    """
    cells = published_table(table)
    if not cells or "task" not in cells[0]:
        raise BadInput(f"published/{table.removesuffix('.csv')}.csv: holds no scores of tasks")
    scores: dict[tuple[str, int], dict[str, float]] = {}
    for cell in cells:
        row = scores.setdefault((cell["method"], int(cell["layers"])), {})
        row[cell["task"]] = float(cell["value"])
    return [
        PublishedRow(
            method, layers, {t: v for t, v in row.items() if t != AVERAGE}, row.get(AVERAGE)
        )
        for (method, layers), row in scores.items()
    ]


def published_claims() -> dict[str, dict[str, str]]:
    """The paper's quantified claims by id: where, claim, relation, published_margin, ..."""
    return {line["id"]: line for line in published_table("claims")}


def published_setup() -> dict[str, str]:
    """The settings of the paper's experiments with one kind of operator: name to value."""
    return {line["setting"]: line["value"] for line in published_table("setup")}


def published_text() -> dict[str, str]:
    """Numbers of the paper's text that its tables contradict: name to value."""
    return {line["quantity"]: line["value"] for line in published_table("text_numbers")}


def published_row(table: str, method: str, layers: int) -> PublishedRow:
    """One row of a published table.

    Raises:
        BadInput: the table has no such row.
    """
    table = table.removesuffix(".csv")
    rows = published_rows(table)
    for row in rows:
        if (row.method, row.layers) == (method, layers):
            return row
    known = ", ".join(f"{row.method} ({row.layers})" for row in rows)
    raise BadInput(f"published/{table}.csv: no row {method!r} with {layers} layers; it has {known}")


def published_table(name: str) -> list[dict[str, str]]:
    """The lines of a published file, as text by column; `name` may end in `.csv`.

    Raises:
        BadInput: there is no such file.
    """
    return [dict(line) for line in _lines(name.removesuffix(".csv"))]


@cache
def _lines(name: str) -> list[dict[str, str]]:
    file = files("lemon") / "published" / f"{name}.csv"
    if not file.is_file():
        raise BadInput(f"published/{name}.csv: no such published table")
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def published_scores(file: str, label: str, tasks: tuple[str, ...]) -> list[PublishedScore]:
    """The scores on these tasks in `published/<file>`; none if it has no line of model `label`."""
    found = [
        PublishedScore(
            model=line["model"],
            tasks=tuple(line["tasks"].split()),
            name=line["name"],
            shots=int(line["shots"]),
            protocol=line["protocol"],
            value=float(line["value"]),
            source=line["source"],
        )
        for line in published_table(file)
    ]
    if label not in {score.model for score in found}:
        return []
    return [score for score in found if set(score.tasks) <= set(tasks)]
