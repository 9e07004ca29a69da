"""Trees of the source layers that each merged layer is made of, a panel for each model.

Above, the layers that were made; below each source layer its share of what was made of it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lemon.reporting.facts.layer_merges import Tree, tree_of
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.style import FAINT, INK, OURS, SOFT, TITLE_INCHES, framed

CELL, NARROWEST = 0.27, 5.4  # inches: of a source layer, and of all of them together
ROW, HEADING, BETWEEN = 0.19, 0.28, 0.18  # inches: of a unit in height, above panels, between them
LEFT, RIGHT = 1.35, 0.2  # inches
BELOW, ABOVE = 3.0, 1.3  # rows below and above a tree
SHARES = {"neurons": "FFN neurons, %", "groups": "head groups, %"}
COLOURS = "Blues"  # monotonic lightness: readable in grey
DARK = 0.55  # from this share on the colour asks for white words
SMALL: dict[str, Any] = {"fontsize": 6.5, "va": "center"}


def draw_merges(numbers: FigureNumbers) -> Figure:
    """Draw the trees, one panel below the other."""
    panels = [lines for _, lines in numbers.frame.groupby("panel")]
    cell = max(CELL, NARROWEST / max(len(lines) for lines in panels))
    width = LEFT + cell * max(len(lines) for lines in panels) + RIGHT
    rows = [BELOW + int(lines["merges"].max()) + ABOVE for lines in panels]
    content = sum(HEADING + ROW * count + BETWEEN for count in rows) - BETWEEN
    picture = framed(numbers.words.title, numbers.words.caption, width, content)
    top = TITLE_INCHES
    for lines, count in zip(panels, rows, strict=True):
        size = cell * len(lines), ROW * count
        axes = picture.axes(LEFT, top + HEADING, *size)
        axes.set_xlim(-0.5, len(lines) - 0.5)
        axes.set_ylim(-BELOW, count - BELOW)
        axes.axis("off")
        label = lines["label"].iloc[0]
        title = f"{label}: {len(lines)} layers merged to {lines['target'].nunique()}"
        picture.words(LEFT, top, title, fontsize=9, fontweight="bold")
        _draw_panel(axes, lines, count - BELOW - ABOVE)
        top += HEADING + size[1] + BETWEEN
    return picture.figure


def _draw_panel(axes: Axes, lines: pd.DataFrame, height: float) -> None:
    for target, part in lines.groupby("target"):
        colour = OURS if len(part) > 1 else SOFT
        middle, level = _draw_tree(axes, tree_of(part["merges"]), part["source"].tolist())
        axes.plot([middle, middle], [level, height + 0.5], color=colour, linewidth=1.0)
        axes.text(middle, height + 0.9, str(target), ha="center", color=colour, **SMALL)
    axes.text(-0.8, height + 0.9, "layer made", ha="right", **SMALL)
    axes.text(-0.8, -0.5, "source layer", ha="right", **SMALL)
    for row, (column, name) in enumerate(SHARES.items()):
        axes.text(-0.8, -1.5 - row, name, ha="right", **SMALL)
        for line in lines.itertuples():
            share, merged = getattr(line, column), line.merges > 0
            face = colormaps[COLOURS](0.05 + 0.8 * share) if merged else "white"
            box: dict[str, Any] = {"facecolor": face, "edgecolor": FAINT, "clip_on": False}
            axes.add_patch(Rectangle((line.source - 0.5, -2 - row), 1, 1, linewidth=0.6, **box))
            if merged:
                words: dict[str, Any] = {"ha": "center", "color": "white" if share > DARK else INK}
                axes.text(line.source, -1.52 - row, f"{100 * share:.0f}", **words, **SMALL)
    for source in lines["source"]:
        axes.text(source, -0.5, str(source), ha="center", **SMALL)


def _draw_tree(axes: Axes, tree: Tree, sources: list[int]) -> tuple[float, int]:
    """Draw the merges of a tree; returns the middle of its last one, and its height."""
    if isinstance(tree, int):
        return sources[tree], 0
    ends = [_draw_tree(axes, part, sources) for part in tree]
    level = 1 + max(below for _, below in ends)
    (left, below_left), (right, below_right) = ends
    axes.plot(
        [left, left, right, right],
        [below_left, level, level, below_right],
        color=OURS,
        linewidth=1.0,
        solid_joinstyle="miter",
    )
    return (left + right) / 2, level
