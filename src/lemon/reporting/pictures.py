"""A table as a picture: every row a method, every panel a column, ours beside the paper's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from lemon.reporting.document import Block, Row, TableDocument
from lemon.reporting.published import AVERAGE
from lemon.reporting.scores import HELDOUT
from lemon.reporting.task_labels import mean_chance, task_label

INK, SOFT, FAINT, OURS = "#1a1a1a", "#767676", "#e6e6e6", "#1f4e79"
BESIDE = 0.15  # rows that our mark stands above the line's middle, and the paper's below
ROW_HEIGHT, PANEL_WIDTH, LABEL_WIDTH = 0.36, 1.5, 2.35  # inches
TOP, BOTTOM = 1.05, 0.85  # inches, for the title and for the axis and key
LOWEST, HIGHEST, NUMBERS = 0.0, 100.0, 138.0  # percent: the axis, and the room for numbers
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "xtick.color": SOFT,
    "xtick.labelsize": 7.5,
}


def draw_accuracy_table(
    frame: pd.DataFrame, tasks: tuple[str, ...], document: TableDocument, path: Path
) -> None:
    """Draw an accuracy table to a PNG file.

    Args:
        frame: the tidy table.
        tasks: its tasks, one panel each, before the mean and the perplexity.
        document: the same table in words; gives the order and the numbers as printed.
        path: the file to write.
    """
    places, height = _places(document.blocks)
    columns = [*tasks, AVERAGE, HELDOUT]
    with matplotlib.rc_context(STYLE):
        size = (
            LABEL_WIDTH + PANEL_WIDTH * len(columns) + 0.15,
            height * ROW_HEIGHT + TOP + BOTTOM,
        )
        figure = Figure(figsize=size)
        panels = figure.subplots(
            1,
            len(columns),
            gridspec_kw={
                "left": LABEL_WIDTH / size[0],
                "right": 1 - 0.15 / size[0],
                "top": 1 - TOP / size[1],
                "bottom": BOTTOM / size[1],
                "wspace": 0.1,
            },
        )
        for index, (panel, column) in enumerate(zip(panels, columns, strict=True)):
            _frame_panel(panel, document.columns[index], places, height)
            if column == HELDOUT:
                _draw_perplexity(panel, frame, places, index)
            else:
                chance = mean_chance(tasks) if column == AVERAGE else task_label(column).chance
                _draw_accuracy(panel, frame[frame["task"] == column], places, index, chance)
        _write_labels(figure, panels, document, places, size)
        figure.savefig(path, format="png", dpi=160, metadata={"Software": None})


Places = list[tuple[float, Block, Row | None]]


def _places(blocks: list[Block]) -> tuple[Places, float]:
    """The height, from the top and in rows, of every heading (Row None) and row, and their sum."""
    places: Places = []
    y = 0.0
    for block in blocks:
        y += 0.25 if places else 0.0
        places.append((y + 0.5, block, None))
        y += 1.0
        for row in block.rows:
            places.append((y + 0.5, block, row))
            y += 1.0
    return places, y


def _frame_panel(panel: Axes, title: str, places: Places, height: float) -> None:
    panel.set_ylim(height, 0)
    panel.yaxis.set_major_locator(NullLocator())
    for side in ("left", "right", "top"):
        panel.spines[side].set_visible(False)
    panel.set_title(title, fontsize=9.5, fontweight="bold", pad=8, loc="left")
    for y, _, row in places:
        if row is not None:
            panel.axhline(y + 0.5, color=FAINT, linewidth=0.6, zorder=0)


def _draw_accuracy(
    panel: Axes, lines: pd.DataFrame, places: Places, column: int, chance: float | None
) -> None:
    """One task, or the mean: our value with its interval, the paper's, and guessing."""
    panel.set_xlim(LOWEST, NUMBERS)
    panel.xaxis.set_major_locator(FixedLocator([25, 50, 75, 100]))
    panel.spines["bottom"].set_bounds(LOWEST, HIGHEST)
    for y, line, row in _matched(lines, places):
        if chance is not None:
            panel.plot([chance, chance], [y - 0.5, y + 0.5], **_GUESSING)
        if pd.notna(line["published"]):
            panel.plot(line["published"], y + BESIDE, **_PAPER)
        if pd.notna(line["value"]):
            ours = y - BESIDE
            panel.plot([line["ci_low"], line["ci_high"]], [ours, ours], color=OURS, linewidth=1.6)
            panel.plot(line["value"], ours, **_OURS)
        _write_number(panel, y, row, column)


def _draw_perplexity(panel: Axes, frame: pd.DataFrame, places: Places, column: int) -> None:
    """Held-out perplexity on a logarithmic axis; over seeds a bar of one standard deviation."""
    lines = frame[(frame["task"] == HELDOUT) & (frame["metric"] == "loss")]
    losses = lines["value"].dropna().astype(float)
    if losses.empty:
        panel.set_visible(False)
        return
    low, high = losses.min() / math.log(10), losses.max() / math.log(10)
    first, last = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    room = 1.15 * (last - first)
    panel.set_xlim(first - 0.05 * (last - first), last + room)
    ticks = range(first, last + 1, max(1, math.ceil((last - first) / 2)))  # three labels fit
    panel.set_xticks(list(ticks), [f"$10^{{{tick}}}$" for tick in ticks])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.spines["bottom"].set_bounds(first - 0.05 * (last - first), last)
    for y, line, row in _matched(lines, places):
        if pd.notna(line["value"]):
            value = line["value"] / math.log(10)
            if pd.notna(line["seed_sd"]):
                spread = line["seed_sd"] / math.log(10)
                panel.plot([value - spread, value + spread], [y, y], color=OURS, linewidth=1.6)
            panel.plot(value, y, **_OURS)
        _write_number(panel, y, row, column)


_OURS: dict[str, Any] = {
    "marker": "o",
    "markersize": 5.2,
    "color": OURS,
    "linestyle": "none",
    "zorder": 4,
}
_GUESSING: dict[str, Any] = {
    **{"color": SOFT, "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}
}
_PAPER: dict[str, Any] = {
    **{"marker": "D", "markersize": 4.4, "linestyle": "none", "zorder": 3},
    **{"markerfacecolor": "white", "markeredgecolor": SOFT, "markeredgewidth": 1.0},
}


def _matched(lines: pd.DataFrame, places: Places) -> list[tuple[float, pd.Series, Row]]:
    """The tidy lines of one column beside their heights; both are in the table's order."""
    rows = [(y, row) for y, _, row in places if row is not None]
    return [(y, line, row) for (y, row), (_, line) in zip(rows, lines.iterrows(), strict=True)]


def _write_number(panel: Axes, y: float, row: Row, column: int) -> None:
    cell = row.cells[column]
    panel.text(
        *(0.985, y, cell.value),
        transform=panel.get_yaxis_transform(),
        ha="right",
        va="center",
        fontsize=8.5,
        fontweight="bold" if cell.best else "normal",
    )


def _write_labels(
    figure: Figure,
    panels: list[Axes],
    document: TableDocument,
    places: Places,
    size: tuple[float, float],
) -> None:
    """The names of rows and blocks on the left, the title above, the key below."""
    first = panels[0]
    left = -(LABEL_WIDTH - 0.15) / (first.get_position().width * size[0])
    for y, block, row in places:
        where: dict[str, Any] = {
            "transform": first.get_yaxis_transform(),
            "va": "center",
            "clip_on": False,
        }
        if row is None:
            first.text(left, y, block.heading, fontsize=9, fontweight="bold", **where)
            continue
        style: dict[str, Any] = {} if row.run else {"fontstyle": "italic", "color": SOFT}
        first.text(left, y - (0.17 if row.note else 0), row.label, **style, **where)
        if row.note:
            first.text(left, y + 0.24, row.note, fontsize=7, color=SOFT, **where)
    figure.text(
        0.15 / size[0],
        1 - 0.3 / size[1],
        document.title,
        fontsize=12.5,
        fontweight="bold",
        va="center",
    )
    figure.text(0.15 / size[0], 1 - 0.55 / size[1], document.subtitle, color=SOFT, va="center")
    key = [
        Line2D([], [], **{**_OURS, "linestyle": "-"}, label="here, with 95 % interval"),
        Line2D([], [], **_PAPER, label="paper (LLaMA2-7B)"),
        Line2D([], [], **_GUESSING, label="guessing"),
    ]
    figure.legend(
        handles=key,
        loc="lower left",
        bbox_to_anchor=(LABEL_WIDTH / size[0], 0.12 / size[1]),
        ncols=3,
        frameon=False,
        fontsize=8.5,
        borderpad=0,
    )
