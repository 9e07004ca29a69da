"""Heat maps of layer operators, and profiles over the offset from the start layer."""

from __future__ import annotations

from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lemon.reporting.facts.layer_operators import gamma_of, start_layers
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.style import (
    INK,
    LINES,
    SIGNED,
    SOFT,
    TITLE_INCHES,
    Frame,
    entitle,
    framed,
    heat_map,
    open_axes,
)
from lemon.similarity.profile import offset_profile

CELL = 0.088  # inches of one entry of gamma
GAP, BETWEEN, HEADING = 0.6, 0.65, 0.55  # inches: between columns, between rows, above maps
LEFT, BAR, BAR_ROOM, RIGHT = 0.75, 0.1, 0.85, 0.25  # inches
CURVE_WIDTH, CURVE_HEIGHT, LEGEND = 3.3, 1.9, 2.2  # inches
COLUMNS = 5  # maximum of maps side by side


def draw_operators(numbers: FigureNumbers) -> Figure:
    """Draw the heat maps of gamma, then profiles over the offset from the start layer.

    First the learned gamma, then gamma minus its start, all on one symmetric scale; dashes mark
    strongly negative entries, since the two halves of the scale look alike in grey. Last, the mean
    change and the share of negative changes over the offset from the start layer.
    """
    frame = numbers.frame
    labels = list(frame.groupby("panel")["label"].first())
    gammas = [gamma_of(frame, panel) for panel in range(len(labels))]
    starts = [gamma_of(frame, panel, "start") for panel in range(len(labels))]
    changes = [gamma - start for gamma, start in zip(gammas, starts, strict=True)]
    reach = max(float(np.abs(change).max()) for change in changes) or 1.0
    columns = min(COLUMNS, len(labels))
    rows = ceil(len(labels) / columns)
    cell = CELL * (1.6 if len(labels) <= 2 else 1.0)
    size = (cell * gammas[0].shape[1], cell * gammas[0].shape[0])
    maps_width = columns * size[0] + (columns - 1) * GAP + BAR_ROOM
    maps_height = rows * (size[1] + BETWEEN) - BETWEEN
    block = HEADING + rows * (size[1] + BETWEEN)
    width = LEFT + max(maps_width, 2 * CURVE_WIDTH + GAP + LEGEND) + RIGHT
    halves = (
        ("γ as learned (entries beyond the scale, such as the start's ones, saturate)", gammas),
        ("γ minus its start: what was learned", changes),
    )
    content = 2 * block + HEADING + CURVE_HEIGHT + 0.4
    picture = framed(numbers.words.title, numbers.words.caption, width, content)
    norm = Normalize(-reach, reach)
    for number, (heading, matrices) in enumerate(halves):
        top = TITLE_INCHES + number * block
        picture.words(LEFT, top + 0.02, heading, fontsize=9.5, fontweight="bold")
        for index, (label, matrix) in enumerate(zip(labels, matrices, strict=True)):
            row, column = divmod(index, columns)
            x = LEFT + column * (size[0] + GAP)
            y = top + HEADING + row * (size[1] + BETWEEN)
            axes = picture.axes(x, y, *size)
            _draw_gamma(axes, matrix, label, norm, first=not column, last=row == rows - 1)
        x = LEFT + columns * size[0] + (columns - 1) * GAP + 0.12
        bar = picture.axes(x, top + HEADING, BAR, maps_height)
        picture.bar(bar, SIGNED, norm, "γ" if not number else "change of γ", extend="both")
    _draw_offsets(picture, TITLE_INCHES + 2 * block + HEADING, labels, changes, starts)
    return picture.figure


def _draw_gamma(
    axes: Axes, matrix: np.ndarray, label: str, norm: Normalize, *, first: bool, last: bool
) -> None:
    heat_map(axes, matrix, SIGNED, norm)
    depth = matrix / float(norm.vmin or 1.0)  # 1 at the negative end of the scale
    for marked, colour in (((depth > 0.25) & (depth <= 0.6), INK), (depth > 0.6, "white")):
        target, source = np.nonzero(marked)
        axes.scatter(source, target, marker="_", s=2.2, linewidths=0.5, color=colour)
    axes.tick_params(labelsize=7)
    axes.set_title(label, loc="left", fontsize=8.5, pad=3)
    if first:
        axes.set_ylabel("target layer", labelpad=2)
    if last:
        axes.set_xlabel("source layer", labelpad=2)


def _draw_offsets(
    picture: Frame,
    top: float,
    labels: list[str],
    changes: list[np.ndarray],
    starts: list[np.ndarray],
) -> None:
    """Mean change and share of negative changes by offset; for many panels also their mean."""
    means = picture.axes(LEFT, top, CURVE_WIDTH, CURVE_HEIGHT)
    shares = picture.axes(LEFT + CURVE_WIDTH + GAP + 0.2, top, CURVE_WIDTH, CURVE_HEIGHT)
    styles = [{**line, "markersize": 2.4, "linewidth": 1.1} for line in LINES]
    shown = list(zip(labels, changes, starts, styles, strict=False))
    if len(labels) > len(LINES):
        grey = {"color": "#b0b0b0", "linewidth": 0.7}
        names = ["each type", *(f"_{label}" for label in labels[1:])]  # only one in the legend
        shown = [(*one, grey) for one in zip(names, changes, starts, strict=True)]
        black = {**styles[2], "linestyle": "-", "linewidth": 1.4}
        shown.append(("mean of all", np.mean(changes, axis=0), starts[0], black))
    for name, change, start, style in shown:
        profile = offset_profile(change, start_layers(start))
        means.plot(profile.offsets, profile.means, label=name, **style)
        shares.plot(profile.offsets, 100 * profile.negative, label=name, **style)
    open_axes(means, shares)
    for axes in (means, shares):
        axes.axvline(0, color=SOFT, linewidth=0.6)
    means.axhline(0, color=SOFT, linewidth=0.6)
    shares.axhline(50, color=SOFT, linewidth=0.6)
    shares.set_ylim(0, 100)
    offset = "source layer minus start layer"
    entitle(means, "Mean change over the offset", offset, "mean change of γ")
    entitle(shares, "Share of negative changes", offset, "negative changes, %")
    shares.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0))
