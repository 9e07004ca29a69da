"""Four heat maps over the receptive fields: mean accuracy, perplexity, operator size, step time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lemon.reporting.style import STYLE
from lemon.reporting.tables.cells import DASH, rounded_perplexity
from lemon.reporting.tables.picture import INK, SOFT

CELL_WIDTH, CELL_HEIGHT = 1.15, 0.72  # inches
LEFT, BETWEEN, BAR, RIGHT = 1.05, 1.25, 0.13, 0.95  # inches; BAR is the width of a colour bar
TOP, TITLE, MIDDLE, AXIS = 0.5, 0.6, 0.25, 0.7  # inches; TITLE is the room above a panel
LINE = 0.165  # inches of a line of the caption
CAPTION_CHARACTERS_PER_INCH = 17


@dataclass(frozen=True)
class Panel:
    """One quantity over the grid.

    Attributes:
        title: with the unit.
        column: of the tidy lines; gives the colour.
        more_is_better: light cells are the better ones, high or low.
        logarithmic: colour by the logarithm.
        number: a value as printed.
        detail: the small lines under the value, from a tidy line.
    """

    title: str
    column: str
    more_is_better: bool
    logarithmic: bool
    number: Callable[[float], str]
    detail: Callable[[pd.Series], list[str]]


PANELS = (
    Panel(
        "Mean accuracy, %",
        *("mean", True, False),
        number=lambda value: f"{value:.1f}",
        detail=lambda line: [
            f"{line['ci_low']:.1f}{DASH}{line['ci_high']:.1f}",
            *([] if pd.isna(line["published"]) else [f"paper {line['published']:.1f}"]),
        ],
    ),
    Panel("Held-out perplexity", "perplexity", False, True, rounded_perplexity, lambda line: []),
    Panel(
        "Operators, million parameters",
        *("operator_parameters", False, True),
        number=lambda value: _three_digits(value / 1e6),
        detail=lambda line: [f"{_three_digits(line['operator_share'])} %"],
    ),
    Panel(
        "Step time, s",
        *("seconds_per_step", False, False),
        number=lambda value: _three_digits(value),
        detail=lambda line: [
            f"{_three_digits(line['seconds_low'])}{DASH}{_three_digits(line['seconds_high'])}"
        ],
    ),
)


def draw_receptive_field_grid(
    frame: pd.DataFrame, title: str, caption: str, axis_names: dict[str, dict[int, str]]
) -> Figure:
    """The figure of the tidy lines.

    Args:
        frame: as `grid_lines` gives it.
        title: above everything.
        caption: below everything.
        axis_names: for `r_a` and `r_i`, what the paper calls a radius that it has another for.
    """
    grid = frame[frame["r_a"].notna()]
    levels = frame[frame["r_a"].isna()]
    columns, rows = sorted(grid["r_i"].unique()), sorted(grid["r_a"].unique(), reverse=True)
    width, height = CELL_WIDTH * max(len(columns), 1), CELL_HEIGHT * max(len(rows), 1)
    total_width = LEFT + 2 * width + BETWEEN + RIGHT
    lines = textwrap.wrap(caption, int(total_width * CAPTION_CHARACTERS_PER_INCH))
    below = AXIS + LINE * len(lines) + 0.15
    total_height = TOP + 2 * (TITLE + height) + MIDDLE + below
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(total_width, total_height))
        for index, panel in enumerate(PANELS):
            right, lower = index % 2, index // 2
            x = LEFT + right * (width + BETWEEN)
            y = below + (1 - lower) * (height + TITLE + MIDDLE)
            size = (width / total_width, height / total_height)
            place = (x / total_width, y / total_height, *size)
            axes = figure.add_axes(place)
            _draw_panel(axes, panel, grid, columns, rows)
            _write_heading(axes, panel, levels, height)
            _label_axes(axes, columns, rows, axis_names, outer=(not right, bool(lower)))
            _draw_bar(
                figure,
                ((x + width + 0.08) / total_width, place[1], BAR / total_width, place[3]),
                panel,
                grid,
            )
        edge = 0.2 / total_width
        heading: dict[str, Any] = {"fontsize": 12.5, "fontweight": "bold", "va": "center"}
        figure.text(edge, 1 - 0.32 / total_height, title, **heading)
        for number, line in enumerate(lines):
            y = (below - AXIS - LINE * (number + 0.5)) / total_height
            figure.text(edge, y, line, fontsize=7.5, color=SOFT, va="center")
    return figure


def _draw_panel(
    axes: Axes, panel: Panel, grid: pd.DataFrame, columns: list[int], rows: list[int]
) -> None:
    axes.set_xlim(0, max(len(columns), 1))
    axes.set_ylim(max(len(rows), 1), 0)
    norm, colours = _norm(panel, grid), _colours(panel)
    by_place = {(line["r_a"], line["r_i"]): line for _, line in grid.iterrows()}
    for y, r_a in enumerate(rows):
        for x, r_i in enumerate(columns):
            line = by_place.get((r_a, r_i))
            value = None if line is None else line[panel.column]
            if line is None or value is None or pd.isna(value):
                _empty_cell(axes, x, y, "" if line is None else "not yet run")
                continue
            colour = colours(norm(_finite(float(value))))
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white"))
            text = INK if _luminance(colour) > 0.45 else "white"
            _write_cell(axes, x, y, panel.number(float(value)), panel.detail(line), text)


def _empty_cell(axes: Axes, x: int, y: int, words: str) -> None:
    axes.add_patch(
        Rectangle((x, y), 1, 1, facecolor="white", edgecolor="#cccccc", hatch="////", linewidth=0)
    )
    box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    if words:
        place: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": 7.5,
            "fontstyle": "italic",
        }
        axes.text(x + 0.5, y + 0.5, words, bbox=box, **place)


def _write_cell(axes: Axes, x: int, y: int, value: str, detail: list[str], colour: str) -> None:
    """The value, and under it the small lines; all centred in the cell."""
    step, first = 0.23, 0.5 - 0.115 * len(detail)
    text: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
    axes.text(x + 0.5, y + first, value, fontsize=10.5, fontweight="bold", **text)
    for number, line in enumerate(detail, start=1):
        axes.text(x + 0.5, y + first + number * step + 0.03, line, fontsize=7.5, **text)


def _write_heading(axes: Axes, panel: Panel, levels: pd.DataFrame, height: float) -> None:
    """The title of a panel, and beneath it the levels of the rows without receptive fields."""
    known = levels[levels[panel.column].notna()]
    words = []
    for _, line in known.iterrows():
        words.append(f"{line['method']} {panel.number(float(line[panel.column]))}")
        if panel.column == "mean" and pd.notna(line["published"]):
            words[-1] += f" (paper {line['published']:.1f})"
    inch = 1 / height
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "ha": "left"}
    axes.text(0, 1 + 0.36 * inch, panel.title, fontsize=10, fontweight="bold", **place)
    axes.text(0, 1 + 0.14 * inch, " · ".join(words), fontsize=7.5, color=SOFT, **place)


def _label_axes(
    axes: Axes,
    columns: list[int],
    rows: list[int],
    names: dict[str, dict[int, str]],
    outer: tuple[bool, bool],
) -> None:
    """Radii along the outer axes only; all panels share them."""
    left, bottom = outer
    axes.tick_params(length=0)
    axes.set_xticks([x + 0.5 for x in range(len(columns))])
    axes.set_yticks([y + 0.5 for y in range(len(rows))])
    axes.set_xticklabels([_named(r, names.get("r_i", {})) for r in columns] if bottom else [])
    axes.set_yticklabels([_named(r, names.get("r_a", {})) for r in rows] if left else [])
    if bottom:
        axes.set_xlabel("$r_i$ of the FFN, channels")
    if left:
        axes.set_ylabel("$r_a$ of attention, channels")


def _named(radius: int, names: dict[int, str]) -> str:
    return f"{radius}\n(paper {names[radius]})" if radius in names else str(radius)


def _draw_bar(
    figure: Figure, place: tuple[float, float, float, float], panel: Panel, grid: pd.DataFrame
) -> None:
    """A colour bar with the lowest and the highest value and what lies half way."""
    values = _values(panel, grid)
    if len(set(values)) < 2:
        return
    axes = figure.add_axes(place)
    norm, low, high = _norm(panel, grid), min(values), max(values)
    middle = (low * high) ** 0.5 if panel.logarithmic else (low + high) / 2
    shades = np.linspace(0, 1, 256)[:, None]
    axes.imshow(shades, aspect="auto", origin="lower", cmap=_colours(panel), extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(length=2, labelsize=7.5)
    ticks = [low, middle, high]
    axes.set_yticks([float(norm(tick)) for tick in ticks], [panel.number(t) for t in ticks])


def _values(panel: Panel, grid: pd.DataFrame) -> list[float]:
    return [_finite(float(value)) for value in grid[panel.column].dropna()]


def _norm(panel: Panel, grid: pd.DataFrame) -> Normalize:
    values = _values(panel, grid) or [1.0]
    low, high = min(values), max(values)
    if low == high:
        high = low * 1.01 or 1.0
    return LogNorm(low, high) if panel.logarithmic else Normalize(low, high)


def _colours(panel: Panel) -> Any:
    return matplotlib.colormaps["cividis" if panel.more_is_better else "cividis_r"]


def _finite(value: float) -> float:
    return min(value, 1e300)


def _luminance(colour: tuple[float, ...]) -> float:
    """Of an sRGB colour, 0 to 1, near enough to choose black or white on it."""
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:,.0f}"
