"""What a reader sees of an accuracy table, as text: the tidy lines, formatted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS, mean_chance
from lemon.published.tables import AVERAGE, published_rows
from lemon.reporting.claims.orderings import OrderingTest
from lemon.reporting.facts.costs import RowCost
from lemon.reporting.facts.departures import Departure, departures
from lemon.reporting.facts.protocol import Protocol, shots_in_words
from lemon.reporting.facts.scores import (
    HELDOUT,
    LEARNING,
    NOT_RUN,
    OPPOSITE_ORDER,
    SAME_ORDER,
    TIED,
    UNCLAIMED,
)
from lemon.reporting.tables.cells import Cell, accuracy_cell, perplexity_cell
from lemon.reporting.tables.headings import block_heading, changes_widths, table_targets
from lemon.reporting.tables.learning_section import (
    LEARNING_NOTE,
    STAGES_NOTE,
    CostGroup,
    cost_groups,
)
from lemon.reporting.tables.orderings_section import Orderings, orderings
from lemon.reporting.tables.radii_section import RadiiSection, radii_section

OURS = "ours, not in the paper"
COLUMNS_A_PAGE = 9  # scores with their intervals, side by side


@dataclass(frozen=True)
class Row:
    """A method: its cells in the order of the columns.

    `opens_ours` marks the first row of its block that the paper does not have, where a rule
    belongs; none in a table that is all ours. `order` says whether its mean stands to that of the
    reference as in the paper; empty where nothing is claimed. `published_name` is the paper's name
    of the row, where it is another.
    """

    label: str
    note: str
    run: bool
    published: bool
    published_name: str
    opens_ours: bool
    order: str
    cells: list[Cell]


@dataclass(frozen=True)
class Block:
    """The rows of one target: models of the same sizes."""

    heading: str
    rows: list[Row]


@dataclass(frozen=True)
class TableDocument:
    """A table ready to be laid out.

    Attributes:
        in_paper: whether anything of it was published.
        columns: headings of the scores.
        parts: the columns by number, as they fit on a page side by side.
        reference: the row that the others of the same sizes are ordered against.
    """

    title: str
    subtitle: str
    in_paper: bool
    columns: list[str]
    parts: list[list[int]]
    reference: str
    task_names: list[str]
    chance: list[str]
    blocks: list[Block]
    ours: str
    orderings: Orderings
    learning: list[CostGroup]
    learning_note: str
    departures: list[Departure]
    radii: RadiiSection | None
    notes: list[str]


def table_document(
    project: Project,
    table: str,
    frame: pd.DataFrame,
    tests: list[OrderingTest],
    costs: list[RowCost],
    shown: Mapping[str, Protocol],
) -> TableDocument:
    """Format a table.

    Args:
        project: the preset.
        table: its name in paper.yaml.
        frame: its tidy form.
        tests: its comparisons.
        costs: what learning took.
        shown: how each task was put to the models.
    """
    spec, preset = project.table(table), project.preset
    tasks = tuple(spec.tasks)
    counts = frame[frame["task"].isin(tasks)].groupby("task", sort=False)["n"].max()
    rows = sorted({int(count) for count in counts.dropna()})
    per_task = " to ".join(dict.fromkeys([str(rows[0]), str(rows[-1])])) if rows else "no"
    return TableDocument(
        title=table_title(table, spec.title),
        subtitle=f"{preset.source.label}, preset {project.preset_name}, {per_task} rows a task",
        in_paper=spec.published is not None,
        columns=column_names(tasks),
        parts=column_parts(len(column_names(tasks))),
        reference=spec.reference[0],
        task_names=[TASKS[task].label for task in tasks],
        chance=chance_cells(tasks),
        blocks=blocks(project, table, frame),
        ours=OURS,
        orderings=orderings(tests),
        learning=cost_groups(costs),
        learning_note=_learning_note(project, costs),
        departures=departures(project, table, shown),
        radii=radii_section(project, table),
        notes=[*_notes(project, table, frame, shots_in_words(shown)), *spec.notes],
    )


def table_title(table: str, caption: str) -> str:
    """`Table 4. ...` for a table that the paper numbers, the caption alone for ours."""
    number = table.removeprefix("table")
    return f"Table {number}. {caption}" if number.isdigit() else caption


def _learning_note(project: Project, costs: list[RowCost]) -> str:
    staged = any(project.first_stage(run) for cost in costs for run in cost.runs)
    return f"{LEARNING_NOTE} {STAGES_NOTE}" if staged else LEARNING_NOTE


def _notes(project: Project, table: str, frame: pd.DataFrame, shots: str) -> list[str]:
    """What a reader must know to read the numbers, one sentence group a note."""
    spec = project.table(table)
    seeds, published = int(frame["seeds"].max()), spec.published
    source = project.source_shape()
    wide = any(changes_widths(source, shape) for shape in table_targets(project, table).values())
    size = "size" if wide else "depth"
    label = project.preset.source.label
    notes = [
        f"Absolute values of {label} are not those of the paper's LLaMA2-7B and are not meant to "
        "be; what can be compared is the order of the methods."
        if published
        else "The paper prints no such table.",
        "Accuracies are percent, with 95 % intervals over the documents: Wilson's for one run, the "
        "bootstrap within each task for means over tasks or seeds. Tasks are held fixed.",
        "Perplexity is on held-out text of the training domains"
        + ("; the paper prints none." if published else "."),
        f"Bold: best of its {size} among the rows run here, where they differ, whether or not the "
        "lead is resolved.",
    ]
    if (frame["verdict"].isin([SAME_ORDER, OPPOSITE_ORDER, TIED])).any():
        notes.append(
            f"Against {spec.reference[0]}: whether the mean stands to that of "
            f"{_reference_in_words(frame, spec.reference)}, at the "
            f"same {size}, as in the paper; tied where the 95 % paired interval of the difference "
            "holds zero. The CSV says so for every task. These are not adjusted for their number; "
            "the tests in pairs are."
        )
    if seeds > 1:
        notes.insert(
            2,
            f"Rows of several seeds (up to {seeds}) show the mean; ± is the standard deviation "
            "over seeds, for perplexity ×÷ its factor around the geometric mean.",
        )
    if (frame["seeds"] == 0).any():
        notes.append("Rows in italics were not yet run here: no number is given for them.")
    if shots:
        notes.insert(2, f"Examples before each question (shots): {shots}; none on the other tasks.")
    misprints = _misprinted_averages(frame)
    if misprints:
        notes.append(
            "Printed averages of the paper that are not the mean of their cells: "
            + "; ".join(misprints)
            + ". Differences here are from the printed value."
        )
    if published and set(spec.tasks) != _tasks_in_paper(published):
        notes.append("The preset has other tasks than the paper, whose mean is taken over these.")
    return notes


def blocks(project: Project, table: str, frame: pd.DataFrame) -> list[Block]:
    """The table's rows by target, in the order of the tidy lines."""
    spec = project.table(table)
    found = []
    for target, lines in frame.groupby(frame["target"].fillna(""), sort=False):
        rows = _rows(
            lines, tuple(spec.tasks), mark_best=bool(target), part_ours=spec.published is not None
        )
        heading = block_heading(project, str(target) or None, lines)
        found.append(Block(heading, list(rows)))
    return found


def _leading(lines: pd.DataFrame, best: Callable[[pd.Series], float]) -> dict[str, float]:
    """The best value of each task in which the rows of a size differ."""
    values = {str(task): own.dropna() for task, own in lines.groupby("task")["value"]}
    return {task: best(own) for task, own in values.items() if own.nunique() > 1}


def _rows(
    lines: pd.DataFrame, tasks: tuple[str, ...], *, mark_best: bool, part_ours: bool
) -> Iterator[Row]:
    names = [*tasks, AVERAGE]
    accuracy = lines[~lines["task"].isin([HELDOUT, LEARNING])]
    loss = lines[(lines["task"] == HELDOUT) & (lines["metric"] == "loss")]
    highest = _leading(accuracy, max) if mark_best else {}
    lowest = _leading(loss, min).get(HELDOUT) if mark_best else None
    previous_in_paper = True
    for method, own in lines.groupby("method", sort=False):
        scores = own[own["task"].isin(names)].set_index("task").loc[names]
        heldout = own[own["task"] == HELDOUT].set_index("metric")
        run = scores["verdict"].iloc[0] != NOT_RUN
        published = bool(scores["published"].notna().any())
        in_paper = scores["in_paper"].iloc[0] == "true"
        seeds = int(scores["seeds"].iloc[0])
        notes = [NOT_RUN if not run else "", f"{seeds} seeds" if seeds > 1 else ""]
        cells = [
            accuracy_cell(scores.loc[name], best=highest.get(name) == score)
            for name, score in scores["value"].items()
        ]
        cells.append(perplexity_cell(heldout, lowest))
        verdict = str(scores.loc[AVERAGE, "verdict"])
        order = "" if verdict in (NOT_RUN, UNCLAIMED) else verdict
        yield Row(
            label=str(method),
            note=", ".join(filter(None, notes)),
            run=run,
            published=published,
            published_name=_published_name(scores, str(method)),
            opens_ours=part_ours and previous_in_paper and not in_paper,
            order=order,
            cells=cells,
        )
        previous_in_paper = in_paper


def chance_cells(tasks: tuple[str, ...]) -> list[str]:
    """What guessing scores, one text a column; empty under perplexity."""
    chances = [*(TASKS[task].chance for task in tasks), mean_chance(tasks)]
    return [*("" if chance is None else f"{chance:.1f}" for chance in chances), ""]


def column_parts(count: int) -> list[list[int]]:
    """The numbers of the columns, in two halves where one page is too narrow for all."""
    numbers = list(range(count))
    if count <= COLUMNS_A_PAGE:
        return [numbers]
    half = (count + 1) // 2
    return [numbers[:half], numbers[half:]]


def column_names(tasks: tuple[str, ...]) -> list[str]:
    """The headings of the score columns."""
    return [*(TASKS[task].label for task in tasks), "Mean", "Perplexity"]


def _misprinted_averages(frame: pd.DataFrame) -> list[str]:
    """The published averages that are not the mean of their own cells, in words."""
    lines = frame[(frame["task"] == AVERAGE) & frame["published_recomputed"].notna()]
    off = lines[(lines["published"] - lines["published_recomputed"]).abs() > 0.05]
    return [
        f"{line['published_method']} ({line['published_layers']} layers): printed "
        f"{line['published']:.1f}, its cells give {line['published_recomputed']:.2f}"
        for _, line in off.iterrows()
    ]


def _published_name(scores: pd.DataFrame, label: str) -> str:
    name = scores["published_method"].iloc[0]
    return "" if pd.isna(name) or name == label else str(name)


def _reference_in_words(frame: pd.DataFrame, labels: tuple[str, ...]) -> str:
    """The first of the labels, or what the table calls it."""
    found = frame.loc[frame["method"].isin(labels), "method"].unique()
    names = [name if name == labels[0] else f"{labels[0]} (the row {name})" for name in found]
    return " or ".join(names)


def _tasks_in_paper(published: str) -> set[str]:
    rows = published_rows(published.removesuffix(".csv"))
    return {task for row in rows for task in row.scores}
