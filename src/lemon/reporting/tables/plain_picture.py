"""The picture of sections of plain columns."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.table import Table

from lemon.reporting.style import FAINT, INK, SOFT
from lemon.reporting.tables.document import Section, WordedTable

SIZE = 8.5  # points
LINE = 0.215  # inches, line height
HEADING_CHARACTERS = 13  # in a line of a column's heading
TOP, BETWEEN = 0.75, 0.5  # inches: the title, and between sections
WIDTH = 1.0  # inches; the saved file has the width of the content


def draw_sections(page: WordedTable, path: Path) -> None:
    """Draw the sections marked `drawn` to a PNG file."""
    sections = [section for section in page.sections if section.drawn]
    heights = [LINE * sum(height for _, height in _rows(section)) for section in sections]
    height = TOP + sum(heights) + BETWEEN * len(sections)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0, 1, page.title, fontsize=12.5, fontweight="bold", va="top")
    figure.text(0, 1 - 0.28 / height, page.subtitle, fontsize=9, color=SOFT, va="top")
    bottom = height - TOP + BETWEEN
    for section, own in zip(sections, heights, strict=True):
        bottom -= own + BETWEEN
        axes = figure.add_axes((0, bottom / height, 1, own / height))
        axes.set_axis_off()
        axes.text(0, 1 + 0.12 / own, section.heading, fontsize=10, fontweight="bold")
        _draw_section(axes, section)
    options: dict[str, Any] = {"dpi": 160, "metadata": {"Software": None}}
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.15, **options)


def _rows(section: Section) -> list[tuple[list[str] | str, float]]:
    """The headings of the columns, the cells of each line, and the headings of groups.

    Each with its height in lines.
    """
    names = (column.name for column in section.columns)
    headings = [textwrap.wrap(name, HEADING_CHARACTERS, break_long_words=False) for name in names]
    most = max(map(len, headings))
    rows: list[tuple[list[str] | str, float]] = [
        (["\n".join(h) for h in headings], 0.85 * most + 0.4)
    ]
    for group in section.groups:
        rows += [(group.heading, 1.25)] if group.heading else []
        rows += [([cell.text for cell in line], 1.0) for line in group.rows]
    return rows


def _draw_section(axes: Axes, section: Section) -> None:
    table, columns, rows = Table(axes, loc="upper left"), section.columns, _rows(section)
    table.AXESPAD = 0
    table.auto_set_font_size(False)
    total = sum(height for _, height in rows)
    top = 1.0
    for number, (row, lines) in enumerate(rows):
        height = lines / total
        top -= height
        texts = [""] * len(columns) if isinstance(row, str) else row
        for index, (column, text) in enumerate(zip(columns, texts, strict=True)):
            align = "left" if column.words else "right"
            cell = table.add_cell(number, index, 0.1, height, text=text, loc=align)
            cell.visible_edges = "BT" if number == 0 else "B"
            cell.set_text_props(size=SIZE, weight="normal" if number else "bold")
            cell.set(linewidth=0.6 if number else 0.9, edgecolor=FAINT if number else INK)
            cell.PAD = 0.12
        if isinstance(row, str):
            style: dict[str, Any] = {"fontsize": SIZE, "fontweight": "bold", "color": SOFT}
            axes.text(0, top + 0.25 * height, row, va="bottom", **style)
    table.auto_set_column_width(range(len(columns)))
    axes.add_table(table)
