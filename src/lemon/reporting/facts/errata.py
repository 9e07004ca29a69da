"""Contradictions between the paper's own numbers, recomputed.

The words are in `published/errata.csv`; every number in them is read from `lemon.published` or
computed here. The ids leave out contradictions that no published number shows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil
from typing import Any

from lemon.published.models import SOURCE_MODEL, published_models, published_shape
from lemon.published.tables import (
    AVERAGE,
    published_row,
    published_rows,
    published_setup,
    published_table,
    published_text,
)
from lemon.reporting.facts.curves import LEMON, SHEARED
from lemon.reporting.numbers import millions, percent, signed

SOURCE = "LLaMA2-7B"
FIVE = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")
PAIRS = (("LEMON-1.3B", "Sheared-LLaMA-1.3B", 24), ("LEMON-2.7B", "Sheared-LLaMA-2.7B", 32))
DEPTHS = (24, 16)  # layers
BILLION = 10**9
UNITS = {"B": BILLION, "T": 1000 * BILLION}  # of printed token counts


@dataclass(frozen=True)
class Erratum:
    """A contradiction: what is printed, what the paper's other numbers give, what follows."""

    id: str
    where: str
    printed: str
    recomputed: str
    follows: str


def errata() -> list[Erratum]:
    """The contradictions of the paper's numbers, in the order of their ids."""
    numbers = {
        "text": published_text(),
        **_averages(),
        **_cells(),
        **_bold(),
        **_gains(),
        **_lost_tasks(),
        **_first_phase(),
        **_budgets(),
        **_sizes(),
    }
    lines = published_table("errata")
    return [Erratum(**{k: text.format_map(numbers) for k, text in one.items()}) for one in lines]


def _averages() -> dict[str, Any]:
    """The averages that are not the rounded mean of their row's cells, and the leads by cells."""
    found = {}
    for table in ("table2", "table3", "table4"):
        rows = {f"{row.method} ({row.layers})": row for row in published_rows(table)}
        means = {name: row.mean_over(row.scores) or 0.0 for name, row in rows.items()}
        printed = {name: row.average or 0.0 for name, row in rows.items()}
        off = [name for name in rows if f"{means[name]:.1f}" != f"{printed[name]:.1f}"]
        found[f"{table}_printed"] = ", ".join(f"{name} {printed[name]:.1f}" for name in off)
        found[f"{table}_means"] = ", ".join(f"{name} {means[name]:.2f}" for name in off)
    leads = []
    for pair in PAIRS:
        first, second = (published_row("table2", name, pair[2]).scores for name in pair[:2])
        mean, other = (sum(scores.values()) / len(scores) for scores in (first, second))
        leads.append(signed(mean - other, 2))
    return {**found, "leads": " and ".join(leads)}


def _cells() -> dict[str, Any]:
    """Scores of one model that two tables print, and those that are swapped in one."""
    second = published_row("table2", "Sheared-LLaMA-2.7B", 32)
    one, other = (published_row(table, SOURCE, 32).scores for table in ("table2", "table3"))
    apart = [task for task in FIVE if one[task] != other[task]]
    return {
        "second_average": published_row("table7", "ShearedLLaMA-2.7B", 32).average,
        "second_mean": second.mean_over(FIVE),
        "source": one,
        "child": second.scores,
        "quoted_cells": ", ".join(f"{task} {one[task]:.1f}" for task in apart),
        "measured_cells": ", ".join(f"{task} {other[task]:.1f}" for task in apart),
    }


def _bold() -> dict[str, Any]:
    """Cells that are bold and not the best of their block, or the other way round."""
    bold, plain = [], []
    for table in ("table2", "table3", "table4"):
        blocks: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for cell in published_table(table):
            if cell["method"] != SOURCE and cell["task"] != AVERAGE:
                blocks[cell["layers"], cell["task"]].append(cell)
        title = f"Table {table.removeprefix('table')}"
        for (layers, task), cells in blocks.items():
            best = max(float(cell["value"]) for cell in cells)
            for cell in cells:
                text = f"{title}, {layers} layers, {task}: {cell['method']} {cell['value']}"
                is_bold, is_best = cell["is_best_in_paper"] == "1", float(cell["value"]) == best
                bold += [text] if is_bold and not is_best else []
                plain += [text] if is_best and not is_bold else []
    return {"bold": ", ".join(bold), "plain": ", ".join(plain)}


def _gains() -> dict[str, Any]:
    """The gains that section 4.4 quotes and those of Table 3, and the cases that starts decide."""
    text = published_text()

    def mean(table: str, method: str, layers: int) -> float:
        return published_row(table, method, layers).average or 0.0

    def table(first: str, second: str) -> str:
        gains = (mean("table3", first, n) - mean("table3", second, n) for n in DEPTHS)
        return " / ".join(map(signed, gains))

    def quoted(what: str) -> str:
        return " / ".join(signed(float(text[f"gain_over_{what}_{layers}"])) for layers in DEPTHS)

    methods, cases = ("Cut", "Shear", "LEMON-Cut", "LEMON-Prune"), []
    for name, suffix in (("table3", ""), ("table7", "@ShearedLLaMA-2.7B")):
        for layers in DEPTHS:
            cut, shear, from_cut, from_shear = (mean(name, m + suffix, layers) for m in methods)
            cases.append((cut > shear) == (from_cut > from_shear))
    return {
        "over_start": quoted("start"),
        "over_pruning": quoted("pruning"),
        "cut_over_cut": table("LEMON-Cut", "Cut"),
        "cut_over_shear": table("LEMON-Cut", "Shear"),
        "prune_over_shear": table("LEMON-Prune", "Shear"),
        "starts_right": sum(cases),
        "starts": len(cases),
    }


def _lost_tasks() -> dict[str, Any]:
    """The tasks of Table 2 on which a model of LEMON is behind."""
    lost, first = [], dict[str, float]()
    for one, other, layers in PAIRS:
        first, second = (published_row("table2", name, layers).scores for name in (one, other))
        below = [task for task in first if first[task] < second[task]]
        lost += [f"{one}: {task} {first[task]} < {second[task]}" for task in below]
    return {"tasks": len(first), "lost": ", ".join(lost)}


def _first_phase() -> dict[str, Any]:
    """The steps of fusion as parts of those of pruning."""
    setup = published_setup()
    quoted = {line["curve"]: int(line["step"]) for line in published_table("figure4")}
    fusion, pruning = int(setup["fusion_steps"]), int(setup["pruning_steps"])
    shares = [(fusion, pruning), (quoted[LEMON], pruning), (quoted[LEMON], quoted[SHEARED])]
    saved = [f"{1 - a / b:.1%} for {a:,} of {b:,}".replace("%", " %") for a, b in shares]
    return {
        "saved": ", ".join(saved),
        "steps_of_all": percent(quoted[LEMON] / pruning),
        "steps_to_equal": percent(quoted[LEMON] / quoted[SHEARED]),
    }


def _budgets() -> dict[str, Any]:
    """Printed budgets in tokens beside those that the printed steps and batches give."""
    setup = {name: int(value) for name, value in published_setup().items() if value.isdigit()}
    printed = published_table("table6")
    fusion, pretraining = (
        {line["parameter"]: line[phase] for line in printed}
        for phase in ("fusion", "continued_pretraining")
    )
    batch = setup["batch_sequences"] * setup["sequence_length"]
    later_batch = setup["pretraining_batch_sequences"] * setup["sequence_length"]
    budget = _tokens(pretraining["training_budget"])
    others = sorted({_tokens(cell["tokens"]) for cell in published_table("table2")} - {budget})
    return {
        "setup": setup,
        "fusion": {**fusion, "steps": int(fusion["steps"])},
        "pretraining": {**pretraining, "steps": int(pretraining["steps"])},
        "budget": budget / BILLION,
        "scratch": budget / (float(published_text()["share_of_scratch"]) / 100) / BILLION,
        "other_budgets": ", ".join(f"{tokens / BILLION:g}B" for tokens in others),
        "ablation": setup["fusion_steps"] * batch / BILLION,
        "released": int(fusion["steps"]) * batch / BILLION,
        "fusion_batch": batch,
        "pretrained": int(pretraining["steps"]) * later_batch / BILLION,
        "steps_needed": ceil(budget / later_batch),
    }


def _sizes() -> dict[str, Any]:
    """Sizes of operators by both powers of r, and the widths that are kept."""
    widths = [line for line in published_table("table1") if line["operator"] != "layer"]
    source, narrow = (published_models()[name] for name in (SOURCE_MODEL, "LEMON-2.7B"))
    same = published_shape("LEMON-Horizontal-37.5%") == narrow.shape
    ffn = narrow.shape.intermediate_size / source.shape.intermediate_size
    return {
        "size_printed": millions(sum(int(one["count_if_printed_power_all_r2"]) for one in widths)),
        "size_right": millions(sum(int(one["count_7b_to_2p7b_all_r2"]) for one in widths)),
        "hidden_kept": percent(narrow.shape.hidden_size / source.shape.hidden_size),
        "ffn_kept": percent(ffn),
        "parameters_kept": percent(narrow.parameters / source.parameters),
        "shapes": "one shape" if same else "two shapes",
        "parameters": narrow.parameters,
    }


def _tokens(printed: str) -> float:
    """A printed number of tokens, `0.26B` or `2T`."""
    return float(printed[:-1]) * UNITS[printed[-1]]
