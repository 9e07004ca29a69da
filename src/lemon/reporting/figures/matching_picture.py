"""Curves of how well the FFN neurons of neighbouring layers match, a panel for each model."""

from __future__ import annotations

from matplotlib.figure import Figure

from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.style import LINES, SOFT, TITLE_INCHES, framed, layer_ticks, open_axes

WIDTH, HEIGHT, GAP = 5.2, 2.6, 0.6  # inches of a panel, and between panels
LEFT, HEADING, BELOW, LEGEND = 0.75, 0.2, 0.4, 1.95  # inches around them
MATCHINGS = {
    "permuted": "aligned, on the tokens\nthat chose the permutation",
    "elsewhere": "aligned, on other tokens",
    "unpermuted": "as they are",
}


def draw_matches(numbers: FigureNumbers) -> Figure:
    """Draw the mean correlations over the layers, on one vertical scale."""
    frame = numbers.frame
    labels = list(frame.groupby("panel")["label"].first())
    highest = max(0.1, float(frame[list(MATCHINGS)].max().max()))
    lowest = min(0.0, float(frame[list(MATCHINGS)].min().min()))
    room = 0.08 * (highest - lowest)
    width = LEFT + len(labels) * (WIDTH + GAP) - GAP + LEGEND
    picture = framed(numbers.words.title, numbers.words.caption, width, HEADING + HEIGHT + BELOW)
    for panel, label in enumerate(labels):
        lines = frame[frame["panel"] == panel]
        axes = picture.axes(LEFT + panel * (WIDTH + GAP), TITLE_INCHES + HEADING, WIDTH, HEIGHT)
        for (column, name), line in zip(MATCHINGS.items(), LINES, strict=False):
            style = {**line, "markersize": 2.8, "linewidth": 1.1}
            axes.plot(lines["layer"], lines[column], label=name, **style)
        axes.axhline(0, color=SOFT, linewidth=0.6)
        open_axes(axes)
        axes.set_ylim(lowest - room, highest + room)
        axes.set_xticks(layer_ticks(len(lines)))
        axes.set_xlabel("layer l, matched with l + 1", labelpad=2)
        axes.set_title(label, loc="left", fontsize=8.5)
        if not panel:
            axes.set_ylabel("mean correlation of matched neurons", labelpad=3)
        if panel == len(labels) - 1:
            beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
            axes.legend(fontsize=7.5, frameon=False, **beside)
    return picture.figure
