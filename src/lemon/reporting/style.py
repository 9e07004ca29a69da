"""The style of all pictures: colours, lines, and the frame of a figure.

Colours are distinguishable for colour-blind readers (Okabe and Ito 2008), and every line has its
own dash and marker, so that it can be identified in grey print.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

INK, SOFT, FAINT, OURS = "#1a1a1a", "#767676", "#e6e6e6", "#1f4e79"
TABLE_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # shipped with matplotlib: identical pictures everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "xtick.color": SOFT,
    "xtick.labelsize": 7.5,
}
STYLE: dict[Any, Any] = {
    **TABLE_STYLE,
    **{"xtick.color": INK, "ytick.color": INK, "ytick.labelsize": 7.5},
    "axes.labelsize": 8,
    "axes.titlesize": 9,
    "svg.hashsalt": "lemon",  # makes files reproducible
    "pdf.fonttype": 42,
}
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#000000", "linestyle": ":", "marker": "^"},
    {"color": "#009E73", "linestyle": "-.", "marker": "D"},
    {"color": "#CC79A7", "linestyle": (0, (5, 1)), "marker": "v"},
)
SIMILARITY = "cividis"  # monotonic lightness: readable in grey
SIGNED = "PuOr"  # diverging, safe for colour-blind readers; white is 0
TITLE_INCHES = 0.5
LINE_INCHES = 0.165  # line height of the caption
CHARACTERS_PER_INCH = 17.5
MARGIN = 0.15  # inches


@dataclass(frozen=True)
class Frame:
    """A picture with a title above and a caption below; positions are in inches from top left."""

    figure: Figure
    width: float
    height: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner is at (x, y)."""
        left, bottom = x / self.width, (self.height - y - height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def words(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text whose upper left corner is at (x, y)."""
        self.figure.text(x / self.width, 1 - y / self.height, text, va="top", **options)

    def bar(self, axes: Axes, colours: str, norm: Normalize, label: str, **options: Any) -> None:
        """Draw a colour bar that fills `axes`."""
        drawn = self.figure.colorbar(ScalarMappable(norm, colours), cax=axes, **options)
        drawn.set_label(label, fontsize=8)
        drawn.outline.set_linewidth(0.6)
        axes.tick_params(length=2)

    def legend(self, x: float, handles: list[Any]) -> None:
        """A legend in one line below the title, from `x` on."""
        self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(x / self.width, 1 - TITLE_INCHES / self.height),
            ncols=len(handles),
            **{"frameon": False, "fontsize": 8, "borderaxespad": 0.0},
        )


def framed(title: str, caption: str, width: float, content: float) -> Frame:
    """A frame for content of this size in inches, which begins `TITLE_INCHES` below the top."""
    lines = textwrap.wrap(caption, int((width - 2 * MARGIN) * CHARACTERS_PER_INCH))
    height = TITLE_INCHES + content + (0.2 + LINE_INCHES * len(lines) + MARGIN)
    frame = Frame(Figure(figsize=(width, height)), width, height)
    frame.words(MARGIN, 0.14, title, fontsize=11, fontweight="bold")
    small: dict[str, Any] = {"fontsize": 7.5, "color": SOFT, "linespacing": 1.35}
    frame.words(MARGIN, TITLE_INCHES + content + 0.2, "\n".join(lines), **small)
    return frame


def open_axes(*panels: Axes) -> None:
    """Short ticks, and no line above and on the right."""
    for axes in panels:
        axes.tick_params(length=2)
        axes.spines[["top", "right"]].set_visible(False)


def heat_map(axes: Axes, matrix: np.ndarray, colours: str, norm: Normalize) -> None:
    """A matrix over layers [rows, columns] in colours, with round layer numbers on the axes."""
    axes.imshow(matrix, cmap=colours, norm=norm, interpolation="nearest", rasterized=True)
    axes.set_xticks(layer_ticks(matrix.shape[1]))
    axes.set_yticks(layer_ticks(matrix.shape[0]))
    axes.tick_params(length=2)


def entitle(axes: Axes, title: str, x: str, y: str) -> None:
    """The title of a panel, and of its axes."""
    axes.set_title(title, loc="left", fontsize=8.5)
    axes.set_xlabel(x, labelpad=2)
    axes.set_ylabel(y, labelpad=2)


def layer_ticks(count: int) -> list[int]:
    """Layer numbers to label on an axis: at most seven, at round steps."""
    step = next(step for step in (1, 2, 5, 10, 20, 50) if count <= 7 * step)
    return list(range(0, count, step))
