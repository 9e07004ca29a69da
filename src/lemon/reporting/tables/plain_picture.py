"""A table of sizes as a picture: its columns, set in type."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from lemon.reporting.tables.document import Column, SizesDocument, SizesSection
from lemon.reporting.tables.picture import FAINT, INK, MARGIN, SOFT, STYLE

SIZE = 8.5  # points
LINE = 0.215  # inches from a line to the next
GAP = 0.22  # inches between columns
HEADING_CHARACTERS = 13  # in a line of a column's heading
TOP = 0.75  # inches, for the title


def draw_sizes(document: SizesDocument, path: Path) -> None:
    """Draw the sections that are marked as drawn, one below another, to a PNG file."""
    sections = [section for section in document.sections if section.drawn]
    with matplotlib.rc_context(STYLE):
        widths = [_widths(section) for section in sections]
        headings = [max(map(_width_of_heading, _headings(section))) for section in sections]
        titles = [_width(document.title, 12.5, bold=True), _width(document.subtitle, 9)]
        width = 2 * MARGIN + max(*titles, *headings, *(sum(w) + GAP * len(w) for w in widths))
        height = TOP + sum(_height(section) for section in sections) + MARGIN
        page = _Page(Figure(figsize=(width, height)))
        page.write(MARGIN, 0.3, document.title, size=12.5, bold=True)
        page.write(MARGIN, 0.55, document.subtitle, size=9, color=SOFT)
        y = TOP
        for section, own in zip(sections, widths, strict=True):
            y = _draw_section(page, section, own, y)
        page.figure.savefig(path, format="png", dpi=160, metadata={"Software": None})


class _Page:
    """A figure that is written on in inches from its upper left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.width, self.height = figure.get_size_inches()

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = SIZE,
        color: str = INK,
        bold: bool = False,
        right: bool = False,
    ) -> None:
        """Text whose middle is at y, to the right of x or, with `right`, to its left."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            fontsize=size,
            color=color,
            fontweight="bold" if bold else "normal",
            ha="right" if right else "left",
            va="center",
        )

    def rule(self, y: float, end: float, color: str, thickness: float) -> None:
        """A line from the margin to `end`."""
        level = 1 - y / self.height
        ends = [MARGIN / self.width, end / self.width]
        self.figure.add_artist(Line2D(ends, [level, level], color=color, linewidth=thickness))


def _draw_section(page: _Page, section: SizesSection, widths: list[float], y: float) -> float:
    """Draw one section from y on; returns where it ends."""
    end = MARGIN + sum(widths) + GAP * (len(widths) - 1)
    page.write(MARGIN, y + LINE / 2, section.heading, size=10, bold=True)
    y += 1.5 * LINE
    page.rule(y, end, INK, 1.2)
    heads = [_wrapped(column) for column in section.columns]
    rows = max(len(head) for head in heads)
    for index, head in enumerate(heads):
        for line, text in enumerate(head):
            place = y + (rows - len(head) + line + 0.75) * LINE * 0.85
            _write_cell(page, section.columns, widths, index, place, text, bold=True)
    y += (rows + 0.6) * LINE * 0.85
    page.rule(y, end, INK, 0.7)
    for group in section.groups:
        if group.heading:
            y += 0.25 * LINE
            page.write(MARGIN, y + LINE / 2, group.heading, bold=True, color=SOFT)
            y += LINE
        for cells in group.lines:
            for index, text in enumerate(cells):
                _write_cell(page, section.columns, widths, index, y + LINE / 2, text)
            y += LINE
            page.rule(y, end, FAINT, 0.6)
    page.rule(y, end, INK, 1.2)
    return y + LINE * 1.5


def _write_cell(
    page: _Page,
    columns: list[Column],
    widths: list[float],
    index: int,
    y: float,
    text: str,
    *,
    bold: bool = False,
) -> None:
    words = columns[index].words
    left = MARGIN + sum(widths[:index]) + GAP * index
    page.write(left if words else left + widths[index], y, text, bold=bold, right=not words)


def _height(section: SizesSection) -> float:
    """What `_draw_section` adds to y."""
    rows = max(len(_wrapped(column)) for column in section.columns)
    groups = sum(len(group.lines) + 1.25 * bool(group.heading) for group in section.groups)
    return LINE * (1.5 + (rows + 0.6) * 0.85 + groups + 1.5)


def _widths(section: SizesSection) -> list[float]:
    """The room of each column, in inches: its longest text."""
    lines = [cells for group in section.groups for cells in group.lines]
    return [
        max(
            *(_width(text, SIZE, bold=True) for text in _wrapped(column)),
            *(_width(cells[index], SIZE) for cells in lines),
        )
        for index, column in enumerate(section.columns)
    ]


def _headings(section: SizesSection) -> list[str]:
    return [section.heading, *(group.heading for group in section.groups)]


def _width_of_heading(text: str) -> float:
    return _width(text, 10, bold=True)


def _wrapped(column: Column) -> list[str]:
    return textwrap.wrap(column.name, HEADING_CHARACTERS, break_long_words=False)


def _width(text: str, size: float, *, bold: bool = False) -> float:
    """Inches that a text takes."""
    if not text:
        return 0.0
    font = FontProperties(
        family=STYLE["font.sans-serif"], size=size, weight="bold" if bold else "normal"
    )
    return float(TextPath((0, 0), text, prop=font).get_extents().x1) / 72
