"""Heat maps over the receptive fields: scores, operator size, step time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lemon.reporting.facts.receptive_fields import WHOLE
from lemon.reporting.facts.scores import BITS
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.numbers import DASH, interval, rounded_perplexity, three_digits
from lemon.reporting.style import INK, SIMILARITY, SOFT, TITLE_INCHES, framed

CELL_WIDTH, CELL_HEIGHT = 1.15, 0.72  # inches
LEFT, BETWEEN, BAR, RIGHT = 1.05, 1.25, 0.13, 0.95  # inches; BAR is the width of a colour bar
TITLE, MIDDLE, AXIS = 0.6, 0.25, 0.45  # inches; TITLE is the space above a panel

LARGEST = 1e300  # what infinity is drawn as
EMPTY: dict[str, Any] = {
    **{"facecolor": "white", "edgecolor": "#cccccc", "hatch": "////", "linewidth": 0}
}
PENDING: dict[str, Any] = {
    **{"fontsize": 7.5, "fontstyle": "italic"},
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 2},
}


@dataclass(frozen=True)
class Quantity:
    """One quantity over the grid; lighter cells are better.

    Attributes:
        title: with the unit.
        column: of the tidy lines.
        logarithmic: colour by the logarithm.
        number: formats a value.
        detail: the small lines under the value, from a tidy line.
        spanned: the columns whose values the colours span; the quantity's own where there are none.
            Those of an interval keep what it does not tell apart alike in colour.
    """

    title: str
    column: str
    more_is_better: bool
    logarithmic: bool
    number: Callable[[float], str]
    detail: Callable[[pd.Series], list[str]] = lambda line: []
    spanned: tuple[str, ...] = ()

    @property
    def colours(self) -> str:
        """Name of the colour map."""
        return SIMILARITY if self.more_is_better else f"{SIMILARITY}_r"

    def values(self, grid: pd.DataFrame) -> list[float]:
        """The known values that the colours span, with infinity capped."""
        columns = self.spanned or (self.column,)
        return [min(float(value), LARGEST) for name in columns for value in grid[name].dropna()]

    def norm(self, values: list[float]) -> Normalize:
        """The colour scale from the lowest to the highest value."""
        low, high = min(values, default=1.0), max(values, default=1.0)
        high = high if high > low else low * 1.01 or 1.0
        return LogNorm(low, high) if self.logarithmic else Normalize(low, high)


QUANTITIES = (
    Quantity(
        "Mean accuracy, %",
        *("mean", True, False),
        number=lambda value: f"{value:.1f}",
        detail=lambda line: [
            interval(line["ci_low"], line["ci_high"]),
            *([] if pd.isna(line["published"]) else [f"paper {line['published']:.1f}"]),
        ],
        spanned=("ci_low", "ci_high"),
    ),
    Quantity("Answer bits per byte", BITS, False, False, "{:.2f}".format),
    Quantity("Held-out perplexity", "perplexity", False, True, rounded_perplexity),
    Quantity(
        *("Held-out perplexity, calibrated", "calibrated_perplexity", False, True),
        rounded_perplexity,
    ),
    Quantity(
        "Operators, million parameters",
        *("operator_parameters", False, True),
        number=lambda value: three_digits(value / 1e6),
        detail=lambda line: [f"{three_digits(line['operator_share'])} %"],
    ),
    Quantity(
        "Step time, s",
        *("seconds_per_step", False, False),
        number=three_digits,
        detail=lambda line: [
            f"{three_digits(line['seconds_low'])}{DASH}{three_digits(line['seconds_high'])}"
        ],
    ),
)


def draw_grid(numbers: FigureNumbers) -> Figure:
    """The heat maps over the receptive fields, two side by side."""
    frame, words = numbers.frame.astype({name: "Int64" for name in WHOLE}), numbers.words
    grid, levels = frame[frame["r_a"].notna()], frame[frame["r_a"].isna()]
    columns, rows = sorted(grid["r_i"].unique()), sorted(grid["r_a"].unique(), reverse=True)
    width, height = CELL_WIDTH * max(len(columns), 1), CELL_HEIGHT * max(len(rows), 1)
    quantities = [q for q in QUANTITIES if q.column in frame]  # earlier versions wrote fewer
    bands = (len(quantities) + 1) // 2
    total_width = LEFT + 2 * width + BETWEEN + RIGHT
    content = bands * (TITLE + height + MIDDLE) - MIDDLE + AXIS
    picture = framed(words.title, words.caption, total_width, content)
    for index, quantity in enumerate(quantities):
        band, right = divmod(index, 2)
        lowest = band == bands - 1
        x = LEFT + right * (width + BETWEEN)
        y = TITLE_INCHES + TITLE + band * (height + TITLE + MIDDLE)
        axes = picture.axes(x, y, width, height)
        axes.tick_params(length=0)
        axes.set(xlim=(0, max(len(columns), 1)), ylim=(max(len(rows), 1), 0))
        _draw_cells(axes, quantity, grid, columns, rows)
        _write_heading(axes, quantity, levels, height)
        names = words.radius_names
        shown = [_named(r, names.get("r_i", {})) if lowest else "" for r in columns]
        axes.set_xticks([x + 0.5 for x in range(len(columns))], shown)
        shown = ["" if right else _named(r, names.get("r_a", {})) for r in rows]
        axes.set_yticks([y + 0.5 for y in range(len(rows))], shown)
        axes.set_xlabel("$r_i$ of the FFN, channels" if lowest else "")
        axes.set_ylabel("" if right else "$r_a$ of attention, channels")
        values = quantity.values(grid)
        if len(set(values)) > 1:
            _draw_bar(picture.axes(x + width + 0.08, y, BAR, height), quantity, values)
    return picture.figure


def _draw_cells(
    axes: Axes, quantity: Quantity, grid: pd.DataFrame, columns: list[int], rows: list[int]
) -> None:
    norm, colours = quantity.norm(quantity.values(grid)), matplotlib.colormaps[quantity.colours]
    lines = {(line["r_a"], line["r_i"]): line for _, line in grid.iterrows()}
    for (y, r_a), (x, r_i) in product(enumerate(rows), enumerate(columns)):
        line = lines.get((r_a, r_i))
        middle: dict[str, Any] = {"ha": "center", "va": "center"}
        if line is None or pd.isna(line[quantity.column]):
            axes.add_patch(Rectangle((x, y), 1, 1, **EMPTY))
            if line is not None:
                axes.text(x + 0.5, y + 0.5, "not yet run", **middle, **PENDING)
            continue
        value, detail = float(line[quantity.column]), quantity.detail(line)
        red, green, blue, _ = colours(norm(min(value, LARGEST)))
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=(red, green, blue), edgecolor="white"))
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # approximate luminance, from sRGB
        middle["color"] = INK if light > 0.45 else "white"
        top = y + 0.5 - 0.115 * len(detail)
        text = quantity.number(value)
        axes.text(x + 0.5, top, text, fontsize=10.5, fontweight="bold", **middle)
        for number, small in enumerate(detail, start=1):
            axes.text(x + 0.5, top + number * 0.23 + 0.03, small, fontsize=7.5, **middle)


def _write_heading(axes: Axes, quantity: Quantity, levels: pd.DataFrame, height: float) -> None:
    """The title of a panel, and below it the values of the rows without receptive fields."""
    known = levels[levels[quantity.column].notna()]
    words = []
    for _, line in known.iterrows():
        words.append(f"{line['method']} {quantity.number(float(line[quantity.column]))}")
        if quantity.column == "mean" and pd.notna(line["published"]):
            words[-1] += f" (paper {line['published']:.1f})"
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "ha": "left"}
    axes.text(0, 1 + 0.36 / height, quantity.title, fontsize=10, fontweight="bold", **place)
    axes.text(0, 1 + 0.14 / height, " · ".join(words), fontsize=7.5, color=SOFT, **place)


def _named(radius: int, names: dict[str, str]) -> str:
    name = names.get(str(radius))
    return f"{radius}\n(paper {name})" if name else str(radius)


def _draw_bar(axes: Axes, quantity: Quantity, values: list[float]) -> None:
    low, high, norm = min(values), max(values), quantity.norm(values)
    ticks = [low, (low * high) ** 0.5 if quantity.logarithmic else (low + high) / 2, high]
    shades = np.linspace(0, 1, 256)[:, None]
    axes.imshow(shades, aspect="auto", origin="lower", cmap=quantity.colours, extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(length=2, labelsize=7.5)
    axes.set_yticks([float(norm(tick)) for tick in ticks], [quantity.number(t) for t in ticks])
