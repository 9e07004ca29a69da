"""The text of a table's page, the same for all formats.

A page has an optional grid of scores, then sections of plain columns, then notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lemon.reporting.facts.scores import Score

NOT_RUN = "not yet run"
ABOVE_FLOOR = "\N{DAGGER}"  # beside a calibrated perplexity that is not below the unigram floor


@dataclass(frozen=True)
class Cell:
    """A cell of a section.

    Attributes:
        aside: smaller text next to or below it, including its brackets.
        strong: whether the text is bold.
        tone: a class of the style sheet.
        hint: the tooltip.
        links: entries on the same web page, shown in place of the text.
    """

    text: str
    aside: str = ""
    strong: bool = False
    tone: str = ""
    hint: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column heading; `words` aligns left instead of right, `wrap` allows line breaks."""

    name: str
    words: bool = False
    wrap: bool = False


@dataclass(frozen=True)
class Group:
    """Lines that belong together, under an optional heading."""

    heading: str
    lines: Sequence[Sequence[str | Cell]]

    @property
    def rows(self) -> list[list[Cell]]:
        """The lines, with plain text converted to cells."""
        return [[Cell(one) if isinstance(one, str) else one for one in line] for line in self.lines]


@dataclass(frozen=True)
class Section:
    """One table of the page.

    Attributes:
        note: a paragraph below it.
        points: further notes, one for each line.
        drawn: whether the picture shows it.
        folded: whether it is collapsed on a web page.
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
    """One score as text; fields without content are empty."""

    value: str = ""
    interval: str = ""
    spread: str = ""
    published: str = ""
    delta: str = ""
    best: bool = False


@dataclass(frozen=True)
class MethodRow:
    """A row of the score grid, as text and numbers.

    Attributes:
        note: the number of seeds if several, or `NOT_RUN`, and whether its gates did not settle.
        published: whether the paper has values for it.
        published_name: the paper's name of the method if it differs; otherwise empty.
        opens_ours: whether it is the first row of its block that is not in the paper, which is
            separated by a line; never in a table without published values.
        order: whether its mean compares to the reference's as in the paper; empty if the paper has
            no order.
        scores, cells: its scores in the order of the columns, and as text.
    """

    label: str
    note: str
    run: bool
    published: bool
    published_name: str
    opens_ours: bool
    order: str
    scores: list[Score]
    cells: list[ScoreCell]


@dataclass(frozen=True)
class RowBlock:
    """The rows of one target: models of the same sizes."""

    heading: str
    rows: list[MethodRow]


@dataclass(frozen=True)
class ScoreGrid:
    """Methods by scores.

    Attributes:
        in_paper: whether the table has published values.
        parts: column indices, split to fit the width of a page.
        reference: the row to which the others of the same sizes are compared.
        floors: the cells of guessing, then of the floors of perplexity, by label.
        marked: the floor to mark in each column's picture: percent for tasks, nats per token for
            perplexity; None where there is none.
        ours: heading of the rows that are not in the paper.
    """

    in_paper: bool
    columns: list[str]
    parts: list[list[int]]
    reference: str
    floors: dict[str, list[str]]
    marked: list[float | None]
    blocks: list[RowBlock]
    ours: str = "ours, not in the paper"


@dataclass(frozen=True)
class WordedTable:
    """A table: numbers for the CSV, a page for the other formats, entries of the manifest."""

    frame: pd.DataFrame
    subtitle: str
    sections: list[Section]
    notes: list[str]
    scores: ScoreGrid | None = None
    title: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)


def words(*names: str, wrap: bool = False) -> list[Column]:
    """Left-aligned columns."""
    return [Column(name, words=True, wrap=wrap) for name in names]


def numbers(*names: str) -> list[Column]:
    """Right-aligned columns."""
    return [Column(name) for name in names]
