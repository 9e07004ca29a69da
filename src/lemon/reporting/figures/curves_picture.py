"""Line plots of curves over training: Figure 4 left and middle."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.numbers import count, rounded_perplexity
from lemon.reporting.style import LINES, TITLE_INCHES, framed, open_axes

WIDTH, HEIGHT = 2.9, 2.3  # inches, of a panel
LEFT, BETWEEN, RIGHT, TOP, BOTTOM = 0.75, 0.75, 0.25, 0.35, 0.5  # inches


@dataclass(frozen=True)
class PanelOf:
    """One panel: columns of the tidy lines and their titles.

    Attributes:
        low, high: columns with the ends of a band; empty for the range over seeds.
    """

    x: str
    x_title: str
    y: str
    y_title: str
    low: str = ""
    high: str = ""
    logarithmic: bool = False


PANELS: dict[str, tuple[PanelOf, ...]] = {
    "scores_by_tokens": (
        PanelOf("tokens", "tokens", "mean", "mean accuracy, %", "mean_low", "mean_high"),
        PanelOf(
            *("tokens", "tokens", "bits_per_byte", "answer bits per byte", "bits_low", "bits_high")
        ),
    ),
    "tune_curves": tuple(
        PanelOf(x, title, "perplexity", "perplexity on the tune text", logarithmic=True)
        for x, title in (("step", "steps"), ("tokens", "tokens"), ("seconds", "seconds"))
    ),
}


def draw_curves(numbers: FigureNumbers) -> Figure:
    """The panels side by side, with one legend."""
    panels, frame = PANELS[numbers.words.renderer], numbers.frame
    width = LEFT + len(panels) * WIDTH + (len(panels) - 1) * BETWEEN + RIGHT
    words = numbers.words
    picture = framed(words.title, words.caption, width, TOP + HEIGHT + BOTTOM)
    drawn = []
    for index, panel in enumerate(panels):
        x = LEFT + index * (WIDTH + BETWEEN)
        axes = picture.axes(x, TITLE_INCHES + TOP, WIDTH, HEIGHT)
        _draw(axes, panel, frame)
        if index and panel.y == panels[index - 1].y:
            axes.set_ylabel("")
        drawn.append(axes)
    open_axes(*drawn)
    picture.legend(LEFT, drawn[0].get_legend_handles_labels()[0])
    return picture.figure


def _draw(axes: Axes, panel: PanelOf, frame: pd.DataFrame) -> None:
    for curve, style in zip(frame["curve"].unique(), LINES, strict=False):
        lines = frame[frame["curve"] == curve]
        by_step = lines.groupby("step" if "step" in lines else "tokens")
        x, y = by_step[panel.x].mean(), by_step[panel.y].mean()
        low = by_step[panel.low or panel.y].min()
        high = by_step[panel.high or panel.y].max()
        axes.plot(x, y, label=curve, linewidth=1.3, markersize=3.5, **style)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xlabel(panel.x_title)
    axes.set_ylabel(panel.y_title)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.locator_params(axis="x", nbins=4)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        in_words = FuncFormatter(lambda value, _: rounded_perplexity(value))
        low, high = axes.get_ylim()
        axes.yaxis.set_major_formatter(in_words)
        axes.yaxis.set_minor_formatter(in_words if high < 2 * low else NullFormatter())
