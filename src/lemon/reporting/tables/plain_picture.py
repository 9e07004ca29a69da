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
    heights = [LINE * sum(_row_heights(section)) for section in sections]
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


def _rows(section: Section) -> list[list[str] | str]:
    """The rows below the column headings: the cells of each line, and headings of groups."""
    rows: list[list[str] | str] = []
    for group in section.groups:
        rows += [group.heading] if group.heading else []
        rows += [[cell.text for cell in line] for line in group.rows]
    return rows


def _row_heights(section: Section) -> list[float]:
    """The heights of the column headings and of every row, in lines."""
    most = max(len(_wrapped(column.name)) for column in section.columns)
    return [0.85 * most + 0.4, *(1.25 if isinstance(row, str) else 1.0 for row in _rows(section))]


def _draw_section(axes: Axes, section: Section) -> None:
    table = Table(axes, loc="upper left")
    table.AXESPAD = 0
    table.auto_set_font_size(False)
    heights = [height / sum(_row_heights(section)) for height in _row_heights(section)]
    headings = ["\n".join(_wrapped(column.name)) for column in section.columns]
    rows = [headings, *_rows(section)]
    top = 1.0
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        top -= height
        texts = [""] * len(headings) if isinstance(row, str) else row
        for index, (column, text) in enumerate(zip(section.columns, texts, strict=True)):
            align = "left" if column.words else "right"
            cell = table.add_cell(number, index, 0.1, height, text=text, loc=align)
            cell.visible_edges = "BT" if number == 0 else "B"
            cell.set_text_props(size=SIZE, weight="normal" if number else "bold")
            cell.set(linewidth=0.6 if number else 0.9, edgecolor=FAINT if number else INK)
            cell.PAD = 0.12
        if isinstance(row, str):
            style: dict[str, Any] = {"fontsize": SIZE, "fontweight": "bold", "color": SOFT}
            axes.text(0, top + 0.25 * height, row, va="bottom", **style)
    table.auto_set_column_width(range(len(headings)))
    axes.add_table(table)


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, HEADING_CHARACTERS, break_long_words=False)
