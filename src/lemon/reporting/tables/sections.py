"""The sections below an accuracy table: training costs, departures, receptive fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from lemon.configuration.planned_run import lineage
from lemon.published.models import SOURCE_MODEL, published_shape
from lemon.reporting.facts.costs import Cost, RowCost
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.gates import CONVERGED_IN_WORDS, Gates
from lemon.reporting.facts.model_costs import ModelCost
from lemon.reporting.facts.radii import RadiiSetting
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.numbers import count, duration, percent, with_prefix
from lemon.reporting.tables.document import Cell, Column, Group, Section, numbers, words

LEARNING_NOTE = (
    "Means over seeds. A row that starts from a run that learned carries that run's cost; own is "
    "what it added. The factor compares with the first row of the depth. Time is that of the "
    "training loop with its held-out evaluations, on the machine that ran it; another run takes "
    "another time, so the CSV holds steps and tokens only."
)
MODELS_NOTE = (
    "Computed from shapes and settings. Parameters: tied FFNs and a tied head once. FLOP: matrix "
    "products of weights, causal attention and head, two a multiply-add; of inference, per token "
    "of a sequence of the preset's length. Shares are of the source model. Text read: calibration "
    "and tune tokens that builders get, at most; they may compute on each many times, which is not "
    "counted. Training includes the runs that a row builds on and the teacher. Time: a token of a "
    "prompt of the preset's length, and of one generated after it, relative to the source model; "
    "medians of rounds in which models of all these shapes computed in turn, quartiles in the CSV. "
    "FFNs that are tied are timed as copies, as a model folder holds them. Memory is not measured."
)
STAGES_NOTE = (
    "A run on the model of another is the second of two stages and carries the first's cost."
)


def learning_section(
    costs: list[RowCost], target_of: Mapping[tuple[str, ...], str | None], *, staged: bool
) -> Section:
    """The costs by target, in the order of the rows.

    `target_of` has the target of a row by its runs; `staged` if some runs have two stages.
    """
    groups = []
    for _, found in groupby(costs, key=lambda cost: target_of[cost.runs]):
        rows = list(found)
        groups.append(Group("", [_cost_line(row, rows[0].total) for row in rows]))
    return Section(
        "Training cost",
        [
            Column("Layers"),
            *words("Row", "Starts from", wrap=True),
            *numbers("Steps", "Tokens", "Factor", "Time", "Factor"),
        ],
        groups,
        note=f"{LEARNING_NOTE} {STAGES_NOTE}" if staged else LEARNING_NOTE,
    )


def _cost_line(row: RowCost, first: Cost) -> list[str | Cell]:
    """The total cost of a row, its own part if it differs, and the factor to the first row."""

    def amount(name: str, in_words: Callable[[float], str]) -> tuple[Cell, Cell]:
        total, own, reference = (getattr(cost, name) for cost in (row.total, row.own, first))
        aside = "" if own == total else f"(own {in_words(own)})"
        factor = f"×{total / reference:.2f}" if reference else ""
        return Cell(in_words(total), aside), Cell(factor, tone="factor")

    steps, _ = amount("steps", count)
    both = (*amount("tokens", count), *amount("seconds", duration))
    return [str(row.layers), row.label, row.start, steps, *both]


def model_costs_section(
    rows: list[ScoredRow], costs: Sequence[ModelCost | None], headings: dict[str | None, str]
) -> Section:
    """The costs of every row that was run, under the heading of its target."""
    groups: dict[str | None, list[list[str]]] = {target: [] for target in headings}
    for row, cost in zip(rows, costs, strict=True):
        if cost is not None:
            line = [
                *(row.label, count(cost.layers)),
                *(with_prefix(cost.parameters), percent(cost.parameters_share)),
                *(with_prefix(cost.flops), percent(cost.flops_share)),
                *(percent(cost.time.prompt_time_share), percent(cost.time.generation_time_share)),
                count(cost.start_tokens),
                *(count(cost.training_tokens), with_prefix(cost.training_flops)),
            ]
            groups[row.spec.target].append(line)
    return Section(
        "Cost of the models",
        [
            *words("Row", wrap=True),
            *numbers("Layers", "Parameters", "Share", "FLOP a token", "Share"),
            *numbers("Prompt, time", "Generation, time"),
            *numbers("Text read, tokens", "Training, tokens", "Training, FLOP"),
        ],
        [Group(headings[target], lines) for target, lines in groups.items()],
        note=MODELS_NOTE,
    )


def gates_section(rows: list[ScoredRow], gates: dict[str, Gates]) -> Section:
    """The gates of every run that prunes, and that a row shows or builds on."""
    row_of = {run.id: row.label for row in reversed(rows) for run in lineage(row.runs)}
    row_of |= {run.id: row.label for row in rows for run in row.runs}
    shown = {run.id for row in rows for run in row.runs}
    lines = [
        [
            row_of[run] if run in shown else f"start of {row_of[run]}",
            run,
            *(percent(one.sparsity, 2), percent(one.target, 2)),
            *(f"{one.smallest_kept:.3f}", f"{one.largest_dropped:.3f}"),
            *(one.export, one.state),
        ]
        for run, one in gates.items()
    ]
    return Section(
        "Gates of pruning",
        [
            *words("Row", "Run", wrap=True),
            *numbers("Sparsity", "Target", "Smallest kept gate", "Largest dropped gate"),
            *words("Gates in the export", "State"),
        ],
        [Group("", lines)],
        note="Sparsity is the share of units expected to be dropped; "
        f"{CONVERGED_IN_WORDS}. Gates are folded into the exported weights, or open (1 for what is "
        "kept): whichever has the lower tune loss. An ordering over a run that did not converge is "
        "one over pruning with this budget.",
    )


def departures_section(departures: list[Departure]) -> Section:
    """All settings that differ from the paper's."""
    lines = [[one.setting, one.here, one.paper] for one in departures]
    columns = words("Setting", "Here", "Paper", wrap=True)
    return Section("Departures from the paper", columns, [Group("", lines)])


def radii_section(settings: list[RadiiSetting], head: int) -> Section:
    """The settings of the receptive fields, and the reasons for their mapping.

    `head` is the head size of the models here.
    """
    lines = [
        [
            setting.name,
            *map(str, (setting.here.attention, setting.here.ffn, setting.here.hidden)),
            f"{setting.share:.1f} %",
            "" if setting.paper_share is None else f"{setting.paper_share:.1f} %",
        ]
        for setting in settings
    ]
    return Section(
        "Receptive fields",
        [
            *words("Setting of the paper"),
            *numbers("r_a here", "r_i here", "r_h here"),
            *numbers("FFN operators, of the small model's parameters", "In the paper"),
        ],
        [Group("", lines)],
        note=" ".join(_reasons(settings, head)),
    )


def _reasons(settings: list[RadiiSetting], head: int) -> Iterable[str]:
    known = [(one.paper, one.here) for one in settings if one.paper]
    paper_head = published_shape(SOURCE_MODEL).head_dim
    for theirs, ours in dict.fromkeys((t.attention, o.attention) for t, o in known):
        if theirs == ours or theirs * head != ours * paper_head:
            continue
        if theirs == paper_head:
            yield (
                f"r_a {theirs} is the head size of the paper's models and becomes the head size of "
                f"this one, {ours}: whole heads are mixed."
            )
        else:
            yield f"r_a {theirs} becomes {ours}, the same part of a head."
    kept = {one.paper.ffn: one for one in settings if one.paper and one.paper.ffn == one.here.ffn}
    if kept and any(theirs != ours for theirs, ours in known):
        finest = kept[min(kept)]
        shares = f"{finest.share:.1f} % of the small model here"
        if finest.paper_share is not None:
            shares += f", {finest.paper_share:.1f} % in the paper"
        *fewer, last = map(str, sorted(kept))
        listed = f"{', '.join(fewer)} and {last} stay" if fewer else f"{last} stays"
        yield (
            f"r_i {listed}: at an equal "
            f"r_i the operators of the FFN take a similar part (r_i = {min(kept)}: {shares})."
        )
    if all(one.here.hidden == one.here.ffn for one in settings):
        yield "The paper states no r_h; here it is r_i."
