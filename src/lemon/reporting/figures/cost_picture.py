"""Scatter plots of quality over cost: one column for each cost, one row for each measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import EngFormatter, MaxNLocator

from lemon.reporting.facts.quality_costs import NOTHING
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.figures.label_stacks import GAP, Point, clusters
from lemon.reporting.style import INK, LINES, SOFT, TITLE_INCHES, Frame, framed, open_axes

WIDTH, LEAST_HEIGHT = 7.8, 3.6  # inches, of a panel
LEFT, BETWEEN, RIGHT, TOP, BOTTOM = 0.65, 1.45, 0.95, 0.4, 0.55  # inches
PADDING = 0.2  # inches between the border of a panel and its points
SIZE, LINE = 7, 0.117  # points, inches: the size of a label, and from one label to the next
COLOURS = tuple(line["color"] for line in LINES)
MARKERS = ("s", "^", "D", "v", "P", "X")
COSTS = (
    ("flops", "inference: FLOP of a forward pass, per token"),
    ("making_flops", "making the model, with the teacher and the runs that it builds on: FLOP"),
)
# Measures of quality: a column of the tidy lines, the ends of its interval, the title.
MEASURES = (
    ("loss", "loss_low", "loss_high", "held-out loss at the best temperature, nats per token"),
    ("bits_per_byte", "bits_low", "bits_high", "answer bits per byte"),
)


@dataclass(frozen=True)
class Look:
    """Colours by target, and markers by what is learned: a hollow circle if nothing is."""

    colours: dict[str, str]
    markers: dict[str, str]

    def mark(self, learns: str, colour: str) -> dict[str, Any]:
        """The style of a point."""
        face = "white" if learns == NOTHING else colour
        return {"color": colour, "marker": self.markers[learns], "markerfacecolor": face}


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to inches of an axis: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, values: pd.Series, start: float, end: float) -> Scale:
        """The scale that fits all values."""
        low, high = float(values.min()), float(values.max())
        return cls(low, high if high > low else low + (abs(low) or 1.0), start, end)

    @property
    def unit(self) -> float:
        """The difference of values one inch apart."""
        return (self.high - self.low) / (self.end - self.start)

    def inches(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / self.unit

    def limits(self, length: float) -> tuple[float, float]:
        """The values at both ends of an axis of this length."""
        return self.low - self.unit * self.start, self.high + self.unit * (length - self.end)


@cache
def label_width(label: str) -> float:
    """The width of a label, in inches; in the style of the pictures."""
    font = FontProperties(size=SIZE)
    width, _, _ = text_to_path.get_text_width_height_descent(label, font, ismath=False)
    return float(width) / 72


@dataclass(frozen=True)
class PanelOf:
    """One panel: a measure over a cost.

    Attributes:
        x, y, low, high: the columns of the cost, of the measure, and of the ends of its interval.
        points: the lines that are drawn as points.
        levels: the lines without a target: the source model, and floors.
    """

    x: str
    y: str
    low: str
    high: str
    points: pd.DataFrame
    levels: pd.DataFrame

    @property
    def best(self) -> pd.DataFrame:
        """The points with a label: no other of the same target is better at no more cost."""
        ordered = self.points.sort_values([self.x, self.y])
        before = ordered.groupby("target")[self.y].transform(lambda y: y.cummin().shift())
        return ordered[before.isna() | (ordered[self.y] < before)]

    @property
    def widths(self) -> list[float]:
        """The widths of the labels, in inches."""
        return [label_width(label) for label in self.best["method"]]

    @property
    def x_scale(self) -> Scale:
        """The scale of the costs; it leaves room for labels on both sides."""
        room = GAP + PADDING / 2 + max(self.widths, default=0.0)
        shown = pd.concat([self.points[self.x], self.sources[self.x]])
        return Scale.of(shown, room, WIDTH - room)

    @property
    def sources(self) -> pd.DataFrame:
        """The source model where it has a cost: it is not trained here."""
        return self.levels[self.levels["run"].notna() & (self.x == "flops")]

    def y_scale(self, height: float) -> Scale:
        """The scale of the measure, with its levels."""
        shown = [self.points[self.low], self.points[self.high], self.levels[self.y]]
        return Scale.of(pd.concat(shown).astype(float), PADDING, height - PADDING)

    def labelled(self, y: list[float]) -> list[Point]:
        """The points with a label in inches, at these heights."""
        scale = self.x_scale
        x = [scale.inches(float(value)) for value in self.best[self.x]]
        return [Point(*one) for one in zip(x, y, self.widths, strict=True)]

    @property
    def height(self) -> float:
        """Inches that its highest stack of labels needs, were all points at one height."""
        stacks = clusters(self.labelled([0.0] * len(self.best)), LINE, math.inf)
        return LINE * max((len(stack.places) for stack in stacks), default=0) + PADDING


def draw_costs(numbers: FigureNumbers) -> Figure:
    """Draw the panels; the best points have labels, and levels are lines named at the right.

    Rows that were not run are not drawn.
    """
    frame, words = numbers.frame, numbers.words
    levels, rows = frame[frame["target"].isna()], frame[frame["target"].notna()]
    points = rows[rows["seeds"] > 0]
    targets = points["target"].unique()
    learned = [name for name in points["learns"].unique() if name != NOTHING]
    look = Look(
        dict(zip(targets, COLOURS * len(targets), strict=False)),
        {NOTHING: "o", **dict(zip(learned, MARKERS * len(learned), strict=False))},
    )
    panels = [
        [PanelOf(x, y, low, high, points[points[y].notna()], levels) for x, _ in COSTS]
        for y, low, high, _ in MEASURES
    ]
    height = max(LEAST_HEIGHT, *(panel.height for row in panels for panel in row))
    width = LEFT + len(COSTS) * WIDTH + (len(COSTS) - 1) * BETWEEN + RIGHT
    picture = framed(words.title, words.caption, width, TOP + len(panels) * (height + BOTTOM))
    for row, beside in enumerate(panels):
        for column, panel in enumerate(beside):
            x = LEFT + column * (WIDTH + BETWEEN)
            y = TITLE_INCHES + TOP + row * (height + BOTTOM)
            axes = picture.axes(x, y, WIDTH, height)
            _draw(axes, panel, height, look)
            axes.set_xlabel(COSTS[column][1])
            axes.set_ylabel(MEASURES[row][-1])
    _draw_legend(picture, look)
    return picture.figure


def _draw(axes: Axes, panel: PanelOf, height: float, look: Look) -> None:
    x_scale, y_scale, y = panel.x_scale, panel.y_scale(height), panel.y
    axes.set_xlim(*x_scale.limits(WIDTH))
    axes.set_ylim(*y_scale.limits(height))
    ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(x_scale.low, x_scale.high)
    axes.set_xticks([tick for tick in ticks if x_scale.low <= tick <= x_scale.high])
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    open_axes(axes)
    for _, level in panel.levels[panel.levels[y].notna()].iterrows():
        is_source = pd.notna(level["run"])
        axes.axhline(level[y], color=SOFT, linewidth=0.8, linestyle="-" if is_source else ":")
        name, beside = "source" if is_source else level["method"], axes.get_yaxis_transform()
        axes.text(1.01, level[y], name, fontsize=SIZE, va="center", transform=beside)
    for _, source in panel.sources.iterrows():
        axes.plot(source[panel.x], source[y], marker="*", color=INK, markersize=7)
    for _, line in panel.points.iterrows():
        style = look.mark(line["learns"], look.colours[line["target"]])
        axes.vlines(line[panel.x], line[panel.low], line[panel.high], style["color"], linewidth=0.7)
        axes.plot(line[panel.x], line[y], markersize=4.6, markeredgewidth=0.9, **style)
    points = panel.labelled([y_scale.inches(float(value)) for value in panel.best[y]])
    for cluster in clusters(points, LINE, height):
        for index, place in cluster.places.items():
            line, point = panel.best.iloc[index], points[index]
            colour = look.colours[line["target"]]
            inside: dict[str, Any] = {"transform": axes.transAxes, "color": colour}
            leader_end = place.x + (0.03 if cluster.on_left else -0.03)
            across = [point.x / WIDTH, leader_end / WIDTH]
            up = [point.y / height, place.y / height]
            axes.plot(across, up, linewidth=0.35, alpha=0.7, zorder=1, **inside)
            at = (place.x / WIDTH, up[1])
            text = axes.text(*at, line["method"], fontsize=SIZE, va="center_baseline", **inside)
            text.set_horizontalalignment("right" if cluster.on_left else "left")
            text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def _draw_legend(picture: Frame, look: Look) -> None:
    """The colours of the targets, then the markers of what is learned."""
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    targets = [
        Line2D([], [], color=colour, marker="o", label=f"target: {name}", **plain)
        for name, colour in look.colours.items()
    ]
    learned = [Line2D([], [], label=name, **look.mark(name, INK), **plain) for name in look.markers]
    picture.legend(LEFT, [*targets, *learned])
