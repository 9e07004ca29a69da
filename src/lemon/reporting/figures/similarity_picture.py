"""Heat maps of the similarity of all pairs of layers, and curves derived from them.

One row for each CKA estimator: a map for each panel, then the similarity of neighbouring layers and
the mean similarity by distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lemon.configuration.figure_specs import MEASURES
from lemon.reporting.facts.similarity_maps import Panel, map_of
from lemon.reporting.figures.figure_numbers import FigureNumbers
from lemon.reporting.style import (
    LINES,
    SIMILARITY,
    SOFT,
    TITLE_INCHES,
    Frame,
    entitle,
    framed,
    heat_map,
    open_axes,
)
from lemon.similarity.layer_pairs import mean_by_distance

MAP, CURVE, GAP, BETWEEN = 2.35, 2.5, 0.55, 0.6  # inches; GAP between columns, BETWEEN rows
LEFT, BAR, BAR_ROOM, RIGHT = 0.75, 0.1, 0.7, 0.2  # inches
HEADING = 0.3  # inches above the panels of a row
NAMES = {"plain": "plain CKA", "debiased": "debiased CKA (random: 0)"}
OUTLINE: dict[str, Any] = {"fill": False, "edgecolor": "white", "linewidth": 1.1}
LEFT_NOTE: dict[str, Any] = {"ha": "left", "va": "bottom", "fontsize": 7}
RIGHT_NOTE: dict[str, Any] = {**LEFT_NOTE, "ha": "right"}
SCALE = Normalize(0.0, 1.0)  # fixed, so that all maps are comparable


def draw_similarity(numbers: FigureNumbers) -> Figure:
    """Draw the heat maps and curves; detected blocks are outlined on the debiased maps."""
    frame, words, panels = numbers.frame, numbers.words, numbers.words.panels
    maps_end = LEFT + len(panels) * MAP + (len(panels) - 1) * GAP
    curves_at = maps_end + BAR_ROOM + GAP
    width = curves_at + 2 * CURVE + GAP + RIGHT
    row_height = HEADING + MAP + BETWEEN
    content = len(MEASURES) * row_height - BETWEEN + 0.35
    picture = framed(words.title, words.caption, width, content)
    for row, measure in enumerate(MEASURES):
        top = TITLE_INCHES + row * row_height + HEADING
        matrices = [map_of(frame, i, p.component, measure) for i, p in enumerate(panels)]
        for column, (panel, matrix) in enumerate(zip(panels, matrices, strict=True)):
            axes = picture.axes(LEFT + column * (MAP + GAP), top, MAP, MAP)
            heat_map(axes, matrix, SIMILARITY, SCALE)
            entitle(axes, f"{panel.label}, {panel.component}", "layer", "layer")
            for first, last in panel.blocks if measure == "debiased" else ():
                corner, size = (first - 0.5, first - 0.5), last - first + 1
                axes.add_patch(Rectangle(corner, size, size, **OUTLINE))
        bar = picture.axes(maps_end + 0.12, top, BAR, MAP)
        picture.bar(bar, SIMILARITY, SCALE, NAMES[measure])
        floors = [panel.floor if measure == "plain" else 0.0 for panel in panels]
        bound = words.bound if measure == "plain" else None
        _draw_curves(picture, (curves_at, top), panels, matrices, floors, NAMES[measure], bound)
    return picture.figure


def _draw_curves(
    picture: Frame,
    corner: tuple[float, float],
    panels: list[Panel],
    matrices: list[np.ndarray],
    floors: list[float | None],
    estimator: str,
    bound: float | None,
) -> None:
    """Draw neighbour curve and distance profile of all panels, on one vertical scale."""
    x, top = corner
    neighbours = picture.axes(x, top, CURVE, MAP)
    distances = picture.axes(x + CURVE + GAP, top, CURVE, MAP)
    relative = len({len(matrix) for matrix in matrices}) > 1
    for index, (panel, matrix, floor) in enumerate(zip(panels, matrices, floors, strict=True)):
        line = LINES[index % len(LINES)]
        style = {**line, "markersize": 2.6, "linewidth": 1.1}
        span = (len(matrix) - 1) if relative else 1
        curve = matrix.diagonal(1)
        name = panel.label if len({p.label for p in panels}) > 1 else panel.component
        between = np.arange(len(curve)) + (0.5 if relative else 0.0)
        neighbours.plot(between / span, curve, label=name, **style)
        apart = np.arange(1, len(matrix))
        distances.plot(apart / span, mean_by_distance(matrix), label=name, **style)
        if floor is not None and floor not in floors[:index]:
            for axes in (neighbours, distances):
                axes.axhline(floor, color=line["color"], linewidth=0.8, linestyle=(0, (1, 2)))
            if floor:
                place = distances.get_yaxis_transform()
                note: dict[str, Any] = {"color": line["color"], "transform": place, **RIGHT_NOTE}
                distances.text(0.98, floor, "random floor", **note)
    if bound is not None:
        neighbours.axhline(bound, color=SOFT, linewidth=0.9, linestyle="-.")
        words, place = f"{bound:.2f}, the paper's bound", neighbours.get_yaxis_transform()
        neighbours.text(0.02, bound, words, transform=place, **LEFT_NOTE)
    low = min(0.0, *(float(np.min(matrix)) for matrix in matrices))
    open_axes(neighbours, distances)
    for axes in (neighbours, distances):
        axes.set_ylim(low - 0.02, 1.0)
    depth, distance = "layer l", "distance in layers"
    if relative:
        depth, distance = "depth of the pair, share of the model", "distance, share of the depth"
    entitle(neighbours, "Neighbours l and l + 1", depth, estimator)
    entitle(distances, "Mean over pairs at a distance", distance, "")
    if len(panels) > 1:
        distances.legend(fontsize=7, frameon=False, loc="upper right")
