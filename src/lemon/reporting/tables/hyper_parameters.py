"""The numbers and text of Table 6: hyper-parameters of every preset beside the paper's."""

from __future__ import annotations

import pandas as pd

from lemon.reporting.facts.hyper_parameters import PHASES
from lemon.reporting.numbers import three_digits
from lemon.reporting.tables.document import Group, Section, WordedTable, numbers, words

NAMES = {
    "training_budget": "Training budget",
    "steps": "Steps",
    "batch_size": "Batch",
    "sequence_length": "Sequence",
    "epochs": "Epochs, at least",
    "lr_layer_operator": "Rate of the layer operator",
    "lr_norm_operator": "Rate of the layer operator on norms",
    "lr_dimension_operator": "Rate of the dimension operators",
    "lr_theta": "Rate of the weights",
    "lr_masks": "Rate of the masks",
    "lr_multipliers": "Rate of the multipliers",
    "lr_warmup_ratio": "Warm-up",
    "evaluation_interval_m": "Evaluation interval",
}
SLIPS = [
    "The paper prints 5,000 steps for a budget of 50B tokens; 5,000 x 256 x 4,096 are 5.2B, and "
    "50B take about 48,000 steps, which the preset paper takes, as the code of Sheared-LLaMA.",
    "Its table gives fusion 2,000 steps (2,000 x 32 x 4,096 = 0.26B tokens), its sections 4.1 and "
    "4.4 give 1,200 (0.16B). The preset paper takes those of the tables that it rebuilds.",
    "Its section 4.1 says a batch of 32 for both phases; the next paragraph and its table say 256 "
    "in pre-training. It also names a pool of 4B tokens for fusion, which uses 0.26B at most.",
    "It trains weights during fusion in its table and in Algorithm 1, and freezes them in its "
    "appendix A.1. Both are run here; the rate of the weights is that of the runs that train them.",
    "Pruning is not in its table: section 4.1 gives it 6,400 steps, which are 0.84B tokens, twice "
    "those of Sheared-LLaMA.",
]


def hyper_parameters_table(facts: tuple[pd.DataFrame, list[str]]) -> WordedTable:
    """The table of the tidy lines of every preset, and of the names of those left out."""
    frame, left_out = facts
    columns = [
        *words("Hyper-parameter"),
        *numbers(*(f"{phase[0].upper()}{phase[1:]}" for phase in PHASES)),
        *numbers("Paper: fusion", "Paper: pre-training"),
        *words("Unit"),
    ]
    groups = [
        Group(str(preset), [_cells(name, own[own["parameter"] == name]) for name in NAMES])
        for preset, own in frame.groupby("preset", sort=False)
    ]
    return WordedTable(
        frame,
        subtitle="By phase of training; several values belong to runs with rates or budgets of "
        "their own",
        sections=[Section("Hyper-parameters", columns, groups, drawn=True)],
        notes=[
            *SLIPS,
            *(f"Left out: {name}, which lacks a name of runs.tsv." for name in left_out),
        ],
    )


def _cells(name: str, lines: pd.DataFrame) -> list[str]:
    """The values of a parameter by phase, what the paper prints, and the unit."""
    unit = "".join(lines["unit"].unique())
    of_phase = {phase: lines[lines["phase"] == phase] for phase in PHASES}
    return [
        NAMES[name],
        *(_in_words(name, unit, own["value"].dropna().to_list()) for own in of_phase.values()),
        *("".join(of_phase[one]["published"].unique()) for one in ("fusion", "pre-training")),
        unit,
    ]


def _in_words(name: str, unit: str, values: list[float]) -> str:
    if name == "epochs":
        return " / ".join(map(three_digits, dict.fromkeys((*values[:1], *values[-1:]))))
    if name == "lr_warmup_ratio":
        return " / ".join(f"{value:.0%}" for value in values)
    return " / ".join(_short(value) if unit else f"{value:g}" for value in values)


def _short(value: float) -> str:
    """A count with at most three digits before its unit: 1,200, 131K, 0.16B."""
    for size, unit, digits in ((1e8, "B", 1e9), (1e6, "M", 1e6), (1e4, "K", 1e3)):
        if value >= size:
            return f"{value / digits:.3g}{unit}"
    return f"{value:,.0f}"
