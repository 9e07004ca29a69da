"""The numbers and text of an accuracy table, such as Table 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.row_lookups import changes_widths
from lemon.configuration.tasks import TASKS, mean_chance
from lemon.perplexity import perplexity_of
from lemon.published.models import SOURCE_MODEL, published_shape, published_target
from lemon.published.tables import AVERAGE
from lemon.reporting.claims.orderings import is_below_floor, ordering_tests, orders_as_in_paper
from lemon.reporting.claims.verdict import BELOW_FLOOR
from lemon.reporting.facts.accuracy import AccuracyFacts
from lemon.reporting.facts.gates import NOT_CONVERGED
from lemon.reporting.facts.heldout import UNIGRAM
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.scores import BITS, CALIBRATED_LOSS, HELDOUT, LOSS, Score, six_digits
from lemon.reporting.numbers import DASH, interval, points, rounded_perplexity, signed
from lemon.reporting.tables.accuracy_notes import accuracy_notes
from lemon.reporting.tables.document import (
    ABOVE_FLOOR,
    NOT_RUN,
    MethodRow,
    RowBlock,
    ScoreCell,
    ScoreGrid,
    Section,
    WordedTable,
)
from lemon.reporting.tables.orderings_section import ordering_sections
from lemon.reporting.tables.sections import (
    departures_section,
    gates_section,
    learning_section,
    model_costs_section,
    radii_section,
)

OTHER_COLUMNS = ("Bits per byte", "Perplexity", "Calibrated")  # beside accuracies
COLUMNS_A_PAGE = 9  # score columns side by side
COLUMNS = [
    *("run", "method", "layers", "task", "metric", "value", "ci_low", "ci_high", "n", "seeds"),
    *("published", "delta", "verdict"),  # up to here: the public interface
    *("seed_sd", "published_recomputed", "published_method", "published_layers"),
    *("target", "in_paper"),
]

Orders = list[dict[str, str]]


def accuracy_table(facts: AccuracyFacts) -> WordedTable:
    """The table with its verdicts: tidy lines, page, and entries of the manifest."""
    tests, orders, setup = ordering_tests(facts), orders_as_in_paper(facts), facts.setup
    staged = any(run.first_stage for row in facts.rows for run in row.runs)
    headings = {row.spec.target: _heading(facts, row.spec.target) for row in facts.rows}
    target_of = {tuple(row.spec.runs): row.spec.target for row in facts.rows}
    shown = (
        facts.costs and learning_section(facts.costs, target_of, staged=staged),
        facts.model_costs and model_costs_section(facts.rows, facts.model_costs, headings),
        facts.gates and gates_section(facts.rows, facts.gates),
        facts.departures and departures_section(facts.departures),
        facts.radii and radii_section(facts.radii, setup.source.head_dim),
    )
    scores = [score for row in facts.rows for score in row.scores.values()]
    counts = [score.n for score in scores if score.n and score.task != AVERAGE]
    per_task = " to ".join(dict.fromkeys([str(min(counts)), str(max(counts))])) if counts else "no"
    return WordedTable(
        tidy_lines(facts, orders),
        subtitle=f"{setup.label}, preset {setup.name}, {per_task} rows a task",
        scores=score_grid(facts, orders),
        sections=[
            *ordering_sections(tests, [TASKS[task].label for task in facts.spec.tasks]),
            *(section for section in shown if isinstance(section, Section)),
        ],
        notes=[*accuracy_notes(facts, ordered=any(orders)), *facts.spec.notes],
        manifest={
            "inputs": facts.inputs,
            "comparisons": [asdict(test) for test in tests],
            "learning": [asdict(cost) for cost in facts.costs],
            "departures": [asdict(departure) for departure in facts.departures],
        },
    )


def tidy_lines(facts: AccuracyFacts, orders: Orders) -> pd.DataFrame:
    """The tidy form, columns `COLUMNS`: one line per row of the table and score.

    Accuracies and answer shares are percent. Lines of a row: accuracy by task in the table's order
    and as `average` (their unweighted mean); the same of `answer_bits_per_byte`, and of
    `answer_share` where there are choices; `heldout` (`HELDOUT_METRICS`, the loss in nats per
    token); for trained rows, `learning` (`steps` and training `tokens`, including those of its
    start); in a table with costs, `cost` (the fields of `ModelCost`); and for pruned ones `pruning`
    (sparsity and gates of each run). The floors of the held-out text come last.
    """
    model_costs = facts.model_costs or [None] * len(facts.rows)
    cost_of = {cost.runs: cost.total for cost in facts.costs}
    lines: list[dict[str, Any]] = []
    for row, order, model_cost in zip(facts.rows, orders, model_costs, strict=True):
        shared = {
            "run": " ".join(row.spec.runs),
            "method": row.label,
            "layers": row.model_layers,
            "seeds": len(row.results),
            "published_method": row.spec.published_method,
            "published_layers": row.spec.published_layers,
            "target": row.spec.target,
            "in_paper": "false" if row.spec.ours else "true",
        }
        for score in row.scores.values():
            verdict = order.get(score.task, "") if row.results else NOT_RUN
            lines.append({**shared, **vars(score), "verdict": verdict})
        for score in [*row.continuous_scores, *row.heldout]:
            below = score.metric == "calibrated_perplexity" and is_below_floor([row], facts.floors)
            verdict = (BELOW_FLOOR if below else "") if row.results else NOT_RUN
            lines.append({**shared, **vars(score), "verdict": verdict})
        if cost := cost_of.get(tuple(row.spec.runs)):
            for metric, value in (("steps", cost.steps), ("tokens", cost.tokens)):
                lines.append({**shared, "task": "learning", "metric": metric, "value": value})
        for metric, value in model_cost.numbers.items() if model_cost else ():
            lines.append({**shared, "task": "cost", "metric": metric, "value": value})
        for run, gates in ((run, facts.gates[run]) for run in row.spec.runs if run in facts.gates):
            of_run = {**shared, "run": run, "task": "pruning", "verdict": gates.state}
            values = {name: value for name, value in vars(gates).items() if name != "export"}
            lines += [{**of_run, "metric": m, "value": round(v, 6)} for m, v in values.items()]
    for name, loss in facts.floors.items():
        floor = {"method": f"{name} floor", "task": HELDOUT, "in_paper": "false"}
        lines.append({**floor, "metric": LOSS, "value": round(loss, 6)})
        perplexity = six_digits(perplexity_of(loss))
        lines.append({**floor, "metric": "perplexity", "value": perplexity})
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype({name: "Int64" for name in ("layers", "n", "seeds", "published_layers")})


def score_grid(facts: AccuracyFacts, orders: Orders) -> ScoreGrid:
    """The grid of methods by scores, each score with its interval and the paper's value."""
    columns = [*(TASKS[task].label for task in facts.spec.tasks), "Mean", *OTHER_COLUMNS]
    pairs = list(zip(facts.rows, orders, strict=True))
    blocks = [
        RowBlock(_heading(facts, target), [*_method_rows(facts, [*block], best=bool(target))])
        for target, block in groupby(pairs, key=lambda pair: pair[0].spec.target)
    ]
    chances = [*(TASKS[task].chance for task in facts.spec.tasks), mean_chance(facts.spec.tasks)]
    blank = [""] * (len(columns) - 1)
    floors = {
        f"{name.capitalize()} floor": [*blank, rounded_perplexity(perplexity_of(loss))]
        for name, loss in facts.floors.items()
    }
    return ScoreGrid(
        in_paper=facts.spec.published is not None,
        columns=columns,
        parts=column_parts(len(columns)),
        reference=facts.spec.reference[0],
        floors={"Guessing": [*map(points, chances), *[""] * len(OTHER_COLUMNS)], **floors},
        marked=[*chances, None, None, facts.floors.get(UNIGRAM)],
        blocks=blocks,
    )


def column_parts(count: int) -> list[list[int]]:
    """The column indices, in two halves if there are too many for the width of a page."""
    half = count if count <= COLUMNS_A_PAGE else (count + 1) // 2
    return [list(part) for part in (range(half), range(half, count)) if part]


def _method_rows(
    facts: AccuracyFacts, block: list[tuple[ScoredRow, dict[str, str]]], *, best: bool
) -> Iterator[MethodRow]:
    columns = zip(*(row.columns for row, _ in block), strict=True)
    leading = [_leading(column) if best else None for column in columns]
    previous_in_paper = True
    for row, order in block:
        in_paper, name = not row.spec.ours, row.spec.published_method
        above, seeds = is_below_floor([row], facts.floors), len(row.results)
        count = f"{seeds} seeds" if seeds > 1 else "" if seeds else NOT_RUN
        state = NOT_CONVERGED if _is_unsettled(facts, row) else ""
        yield MethodRow(
            label=row.label,
            note=", ".join(filter(None, (count, state))),
            run=bool(seeds),
            published=any(score.published is not None for score in row.scores.values()),
            published_name="" if name in (None, row.label) else str(name),
            opens_ours=bool(facts.spec.published) and previous_in_paper and not in_paper,
            order=order.get(AVERAGE, ""),
            scores=row.columns,
            cells=[_cell(*one, above=above) for one in zip(row.columns, leading, strict=True)],
        )
        previous_in_paper = in_paper


def _is_unsettled(facts: AccuracyFacts, row: ScoredRow) -> bool:
    """Whether gates of a run did not settle; of a pre-trained one those of what it was before."""
    before = (run.first_stage if run.method.pretrains else run for run in row.runs)
    gates = (facts.gates[run.id] for run in before if run and run.id in facts.gates)
    return any(not found.converged for found in gates)


def _leading(scores: Sequence[Score]) -> float | None:
    """The best value of a column; None if all rows are equal."""
    values = [score.value for score in scores if score.value is not None]
    lower_is_better = scores[0].metric in (BITS, LOSS, CALIBRATED_LOSS)
    best = min if lower_is_better else max
    return best(values) if len(set(values)) > 1 else None


def _cell(score: Score, best: float | None, *, above: bool) -> ScoreCell:
    """A score as text; `above` if the row is not below the unigram floor."""
    published = points(score.published)
    if score.value is None or score.ci_low is None or score.ci_high is None:
        return ScoreCell(published=published)
    lead = score.value == best
    if score.metric in (LOSS, CALIBRATED_LOSS):
        value, low, high = (
            rounded_perplexity(perplexity_of(loss))
            for loss in (score.value, score.ci_low, score.ci_high)
        )
        mark = f" {ABOVE_FLOOR}" if above and score.metric == CALIBRATED_LOSS else ""
        # The spread of a loss over seeds is a factor of the perplexity.
        spread = "" if score.seed_sd is None else f"×÷{perplexity_of(score.seed_sd):.3g}"
        return ScoreCell(value + mark, f"{low}{DASH}{high}", spread, best=lead)
    decimals = 2 if score.metric == BITS else 1
    return ScoreCell(
        value=f"{score.value:.{decimals}f}",
        interval=interval(score.ci_low, score.ci_high, decimals),
        spread="" if score.seed_sd is None else f"±{score.seed_sd:.{decimals}f}",
        published=published,
        delta="" if score.delta is None else signed(score.delta),
        best=lead,
    )


def _heading(facts: AccuracyFacts, target: str | None) -> str:
    """The heading of the rows of a target: its sizes, here and in the paper."""
    rows, source = [row for row in facts.rows if row.spec.target == target], facts.setup.source
    layers, printed = rows[0].layers, max(row.spec.published_layers or 0 for row in rows)
    paper, in_paper = published_shape(SOURCE_MODEL), published_target(target)
    if target is None:
        heading, beside = f"Source model, {layers} layers", f"{printed}"
    elif changes_widths(source, facts.targets[target]):
        heading = f"Hidden{_widths(facts.targets[target], source)}"
        beside = f"hidden{_widths(in_paper, paper)}" if in_paper else ""
    else:
        heading = f"{layers} of {source.num_hidden_layers} layers"
        beside = f"{printed} of {paper.num_hidden_layers}"
    return f"{heading} (paper: {beside})" if printed and beside else heading


def _widths(shape: LlamaShape, source: LlamaShape) -> str:
    return (
        f" size {shape.hidden_size} of {source.hidden_size}, "
        f"FFN {shape.intermediate_size} of {source.intermediate_size}, "
        f"{shape.num_attention_heads} of {source.num_attention_heads} heads, "
        f"{shape.num_hidden_layers} of {source.num_hidden_layers} layers"
    )
