"""The picture of a grid of scores: one row for each method, one panel for each column."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from lemon.reporting.facts.scores import BITS, CALIBRATED_LOSS, LOSS, Score
from lemon.reporting.style import FAINT, OURS, SOFT, TABLE_STYLE
from lemon.reporting.tables.document import MethodRow, ScoreGrid, WordedTable

BESIDE = 0.15  # offset in rows of our mark above, and the paper's below, the line's middle
ROW_HEIGHT, PANEL_WIDTH, MARGIN = 0.36, 1.5, 0.15  # inches
LABEL_SIZE = 9  # points
NOTE_SIZE = 7
TOP, BOTTOM = 1.05, 0.85  # inches, for the title and for the axis and key
BETWEEN = 0.85  # inches between two parts of the columns, for axis and headings
LOWEST, HIGHEST, NUMBERS = 0.0, 100.0, 138.0  # percent: the axis, and the end of the numbers


def draw_scores(page: WordedTable, scores: ScoreGrid, path: Path) -> None:
    """Draw the scores of a table to a PNG file, one panel for each column."""
    lines, height = _picture_lines(scores)
    label_width = _label_width(scores)
    most = max(map(len, scores.parts))
    part_height = height * ROW_HEIGHT
    size = (
        label_width + PANEL_WIDTH * most + MARGIN,
        TOP + (part_height + BETWEEN) * len(scores.parts) - BETWEEN + BOTTOM,
    )
    figure = Figure(figsize=size)
    sides = {"left": label_width / size[0], "right": 1 - MARGIN / size[0], "wspace": 0.1}
    for number, part in enumerate(scores.parts):
        top = TOP + (part_height + BETWEEN) * number
        ends = {"top": 1 - top / size[1], "bottom": 1 - (top + part_height) / size[1]}
        grid = figure.add_gridspec(1, most, **sides, **ends)
        panels = [figure.add_subplot(grid[place]) for place in range(len(part))]
        for panel, index in zip(panels, part, strict=True):
            _frame_panel(panel, scores.columns[index], lines, height)
            _draw_column(panel, lines, index, scores.marked[index])
        _write_labels(figure, panels[0], lines)
    _write_title_and_key(figure, page, scores, label_width)
    figure.savefig(path, format="png", dpi=160, metadata={"Software": None})


@dataclass(frozen=True)
class PictureLine:
    """A line of the picture, a row or a heading; `y` is its middle in rows from the top."""

    y: float
    row: MethodRow | None = None
    heading: str = ""
    minor: bool = False


def _picture_lines(scores: ScoreGrid) -> tuple[list[PictureLine], float]:
    """All lines of the picture, and their total height in rows."""
    lines: list[PictureLine] = []
    y = 0.0
    for block in scores.blocks:
        y += 0.25 if lines else 0.0
        lines.append(PictureLine(y + 0.5, heading=block.heading))
        y += 1.0
        for row in block.rows:
            if row.opens_ours:
                lines.append(PictureLine(y + 0.4, heading=scores.ours, minor=True))
                y += 0.7
            lines.append(PictureLine(y + 0.5, row))
            y += 1.0
    return lines, y


def _label_width(scores: ScoreGrid) -> float:
    """Width of the longest label or note, in inches, including margins."""
    rows = [row for block in scores.blocks for row in block.rows]
    texts = [(row.label, LABEL_SIZE) for row in rows] + [(_note(row), NOTE_SIZE) for row in rows]
    family = TABLE_STYLE["font.sans-serif"]
    paths = [TextPath((0, 0), *one, prop=FontProperties(family=family)) for one in texts if one[0]]
    return max(path.get_extents().width for path in paths) / 72 + 2 * MARGIN


def _note(row: MethodRow) -> str:
    """The text under the name of a row: its note, and the paper's name."""
    paper = f"paper: {row.published_name}" if row.published_name else ""
    return ", ".join(filter(None, (row.note, paper)))


def _frame_panel(panel: Axes, title: str, lines: list[PictureLine], height: float) -> None:
    panel.set_ylim(height, 0)
    panel.patch.set_visible(False)
    panel.yaxis.set_major_locator(NullLocator())
    panel.spines[["left", "right", "top"]].set_visible(False)
    panel.set_title(title, fontsize=9.5, fontweight="bold", pad=8, loc="left")
    for line in lines:
        if line.row is not None:
            panel.axhline(line.y + 0.5, color=FAINT, linewidth=0.6, zorder=0)


Scored = tuple[float, Score, MethodRow]  # a score of a column, with its y and row


def _draw_column(panel: Axes, lines: list[PictureLine], column: int, floor: float | None) -> None:
    """Draw the scores of a column and write them as numbers; hide a measure that no row has."""
    scored = [(one.y, one.row.scores[column], one.row) for one in lines if one.row]
    draw = _DRAWN_AS.get(scored[0][1].metric, _draw_accuracy)
    if draw is not _draw_accuracy and all(score.value is None for _, score, _ in scored):
        panel.set_visible(False)
        return
    draw(panel, scored, floor)
    place: dict[str, Any] = {"transform": panel.get_yaxis_transform(), "ha": "right"}
    for y, _, row in scored:
        cell = row.cells[column]
        weight = "bold" if cell.best else "normal"
        panel.text(0.985, y, cell.value, fontsize=8.5, fontweight=weight, va="center", **place)


def _draw_accuracy(panel: Axes, scored: list[Scored], chance: float | None) -> None:
    """Draw one task, or the mean: our value with its interval, the paper's, and guessing."""
    panel.set_xlim(LOWEST, NUMBERS)
    panel.xaxis.set_major_locator(FixedLocator([25, 50, 75, 100]))
    panel.spines["bottom"].set_bounds(LOWEST, HIGHEST)
    for y, score, _ in scored:
        if chance is not None:
            panel.plot([chance, chance], [y - 0.5, y + 0.5], **_GUESSING)
        if score.published is not None:
            panel.plot(score.published, y + BESIDE, **_PAPER)
        _draw_score(panel, y if score.published is None else y - BESIDE, score)


def _draw_bits(panel: Axes, scored: list[Scored], floor: float | None) -> None:
    """Draw answer bits per byte from 0, with intervals."""
    highest = math.ceil(max(score.ci_high for _, score, _ in scored if score.ci_high is not None))
    panel.set_xlim(0, NUMBERS / HIGHEST * highest)
    panel.xaxis.set_major_locator(FixedLocator([0, highest / 2, highest]))
    panel.spines["bottom"].set_bounds(0, highest)
    for y, score, _ in scored:
        _draw_score(panel, y, score)


def _draw_perplexity(panel: Axes, scored: list[Scored], floor: float | None) -> None:
    """Draw perplexity on a logarithmic axis, with intervals and the unigram floor."""
    losses = [score.value for _, score, _ in scored if score.value is not None]
    nats = math.log(10)  # of a decade
    first, highest = math.floor(min(losses) / nats), math.ceil(max(losses) / nats)
    span = max(highest - first, 1)
    panel.set_xlim(first - 0.05 * span, first + span + 1.15 * span)
    ticks = range(first, first + span + 1, max(1, math.ceil(span / 2)))  # at most three labels
    panel.set_xticks(list(ticks), [f"$10^{{{tick}}}$" for tick in ticks])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.spines["bottom"].set_bounds(first - 0.05 * span, first + span)
    for y, score, _ in scored:
        if floor is not None and first <= floor / nats <= first + span:
            panel.plot([floor / nats] * 2, [y - 0.5, y + 0.5], **_GUESSING)
        _draw_score(panel, y, score, nats)


def _draw_score(panel: Axes, y: float, score: Score, unit: float = 1.0) -> None:
    """Our value with its interval, in this unit; nothing if the row was not run."""
    if score.value is not None and score.ci_low is not None and score.ci_high is not None:
        ends = [score.ci_low / unit, score.ci_high / unit]
        panel.plot(ends, [y, y], color=OURS, linewidth=1.6)
        panel.plot(score.value / unit, y, **_OURS)


_DRAWN_AS: dict[str, Callable[[Axes, list[Scored], float | None], None]] = {
    BITS: _draw_bits,
    LOSS: _draw_perplexity,
    CALIBRATED_LOSS: _draw_perplexity,
}


# Not clipped, so that a point at 0 is drawn completely.
_OURS: dict[str, Any] = {
    **{"marker": "o", "markersize": 5.2, "color": OURS, "linestyle": "none"},
    **{"zorder": 4, "clip_on": False},
}
_GUESSING: dict[str, Any] = {
    **{"color": SOFT, "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}
}
_PAPER: dict[str, Any] = {
    **{"marker": "D", "markersize": 4.4, "linestyle": "none", "zorder": 3, "clip_on": False},
    **{"markerfacecolor": "white", "markeredgecolor": SOFT, "markeredgewidth": 1.0},
}


def _write_labels(figure: Figure, first: Axes, lines: list[PictureLine]) -> None:
    """Write the names of rows and blocks left of the first panel, and a line above our rows."""
    total, panel = figure.get_figwidth(), first.get_position()
    left, right = ((x - panel.x0 * total) / (panel.width * total) for x in (MARGIN, total - MARGIN))
    first.set_zorder(1)  # above the other panels, which the line crosses
    across: dict[str, Any] = {"transform": first.get_yaxis_transform(), "clip_on": False}
    text: dict[str, Any] = {**across, "va": "center", "fontsize": LABEL_SIZE}
    for line in lines:
        y, row = line.y, line.row
        if line.minor:
            first.plot([left, right], [y - 0.4] * 2, color=SOFT, linewidth=0.6, **across)
            first.text(left, y, line.heading, **{**text, "fontsize": 7.5}, color=SOFT)
        elif row is None:
            first.text(left, y, line.heading, fontweight="bold", **text)
        else:
            style: dict[str, Any] = {} if row.run else {"fontstyle": "italic", "color": SOFT}
            note = _note(row)
            first.text(left, y - (0.17 if note else 0), row.label, **style, **text)
            first.text(left, y + 0.24, note, **{**text, "fontsize": NOTE_SIZE}, color=SOFT)


def _write_title_and_key(
    figure: Figure, page: WordedTable, scores: ScoreGrid, label_width: float
) -> None:
    width, height = figure.get_size_inches()
    left = MARGIN / width
    title: dict[str, Any] = {"fontsize": 12.5, "fontweight": "bold", "va": "center"}
    figure.text(left, 1 - 0.3 / height, page.title, **title)
    figure.text(left, 1 - 0.55 / height, page.subtitle, color=SOFT, va="center")
    renamed = any(row.published_name for block in scores.blocks[1:] for row in block.rows)
    key = {"here, with 95 % interval": {**_OURS, "linestyle": "-"}}
    if scores.in_paper:
        key["paper, its own models" if renamed else "paper (LLaMA2-7B)"] = _PAPER
    key["guessing; unigram floor" if len(scores.floors) > 1 else "guessing"] = _GUESSING
    handles = [Line2D([], [], **style, label=label) for label, style in key.items()]
    place: dict[str, Any] = {"loc": "lower left", "borderpad": 0}
    place["bbox_to_anchor"] = (label_width / width, 0.12 / height)
    figure.legend(handles=handles, ncols=3, frameon=False, fontsize=8.5, **place)
