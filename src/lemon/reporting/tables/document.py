"""What a reader sees of a table, as text: the same page for every format.

A page may begin with a grid of scores; sections of plain columns follow, and notes end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lemon.reporting.facts.rows import ScoredRow

NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Cell:
    """A cell of a section.

    Attributes:
        text: what it says.
        aside: what stands beside or under it, in brackets of its own.
        strong: whether the text is bold.
        tone: a class of the style sheet.
        hint: shown where a mouse rests on the cell.
    """

    text: str
    aside: str = ""
    strong: bool = False
    tone: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; `words` are set to the left, numbers to the right; `wrap` lets words wrap."""

    name: str
    words: bool = False
    wrap: bool = False


@dataclass(frozen=True)
class Group:
    """Lines that belong together, under a heading of their own where there is one."""

    heading: str
    lines: Sequence[Sequence[str | Cell]]

    @property
    def rows(self) -> list[list[Cell]]:
        """The lines; plain text is a cell by itself."""
        return [[Cell(one) if isinstance(one, str) else one for one in line] for line in self.lines]


@dataclass(frozen=True)
class Section:
    """One table of the page.

    Attributes:
        note: a paragraph below it.
        points: further notes, a line each.
        drawn: whether the picture shows it.
        folded: whether a web page shows it on demand.
    """

    heading: str
    columns: list[Column]
    groups: list[Group]
    note: str = ""
    points: list[str] = field(default_factory=list)
    drawn: bool = False
    folded: bool = False


@dataclass(frozen=True)
class ScoreCell:
    """One score in words; an empty string where there is nothing to say."""

    value: str = ""
    interval: str = ""
    spread: str = ""
    published: str = ""
    delta: str = ""
    best: bool = False


@dataclass(frozen=True)
class MethodRow:
    """A method in words, beside its numbers.

    Attributes:
        row: what is known of it.
        opens_ours: whether it is the first row of its block that the paper does not have, which a
            rule sets apart; never in a table that is all ours.
        order: whether its mean stands to that of the reference as in the paper; empty where the
            paper has no order.
        cells: its scores in the order of the columns.
    """

    row: ScoredRow
    opens_ours: bool
    order: str
    cells: list[ScoreCell]

    @property
    def run(self) -> bool:
        """Whether it was run."""
        return bool(self.row.results)

    @property
    def label(self) -> str:
        """Its name."""
        return self.row.label

    @property
    def note(self) -> str:
        """What must be known of it."""
        seeds = len(self.row.results)
        return f"{seeds} seeds" if seeds > 1 else "" if seeds else NOT_RUN

    @property
    def published(self) -> bool:
        """Whether the paper has numbers for it."""
        return any(score.published is not None for score in self.row.scores.values())

    @property
    def published_name(self) -> str:
        """The paper's name of it, where that is another."""
        name = self.row.spec.published_method
        return "" if name is None or name == self.row.label else name


@dataclass(frozen=True)
class RowBlock:
    """The rows of one target: models of the same sizes."""

    heading: str
    rows: list[MethodRow]


@dataclass(frozen=True)
class ScoreGrid:
    """Methods by scores.

    Attributes:
        in_paper: whether anything of it was published.
        columns: headings of the scores.
        parts: the columns by number, as they fit on a page side by side.
        reference: the row that the others of the same sizes are ordered against.
        chance: what guessing scores, a number a column; None where there is no guessing.
        ours: heading of the rows that the paper does not have.
    """

    in_paper: bool
    columns: list[str]
    parts: list[list[int]]
    reference: str
    chance: list[float | None]
    blocks: list[RowBlock]
    ours: str


@dataclass(frozen=True)
class TablePage:
    """A table ready to be laid out."""

    title: str
    subtitle: str
    sections: list[Section]
    notes: list[str]
    scores: ScoreGrid | None = None


@dataclass(frozen=True)
class WordedTable:
    """A table in every form: numbers for the CSV, words for the others, entries of the manifest."""

    frame: pd.DataFrame
    page: TablePage
    manifest: dict[str, Any]


def words(*names: str, wrap: bool = False) -> list[Column]:
    """Columns of words."""
    return [Column(name, words=True, wrap=wrap) for name in names]


def numbers(*names: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(name) for name in names]


def table_title(table: str, caption: str) -> str:
    """`Table 4. ...` for a table that the paper numbers, the caption alone for ours."""
    number = table.removeprefix("table")
    return f"Table {number}. {caption}" if number.isdigit() else caption
