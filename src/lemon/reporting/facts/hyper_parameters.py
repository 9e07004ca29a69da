"""The hyper-parameters of every preset by phase of training, beside the paper's Table 6."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import pandas as pd

from lemon.configuration.planned_run import PlannedRun, plan_runs
from lemon.configuration.preset import TextSettings
from lemon.configuration.project import Project
from lemon.published.tables import published_table
from lemon.reporting.facts.model_sizes import all_presets

# Phase -> (the runs that are in it, its column in published/table6.csv).
PHASES: dict[str, tuple[Callable[[PlannedRun], bool], str]] = {
    "pruning": (lambda r: r.method.prunes, ""),
    "fusion": (lambda r: r.method.learns_operators, "fusion"),
    "pre-training": (lambda r: r.method.pretrains, "continued_pretraining"),
}
COLUMNS = ["preset", "parameter", "phase", "value", "unit", "published"]


def hyper_parameters(project: Project, *_: object) -> tuple[pd.DataFrame, list[str]]:
    """The hyper-parameters in tidy form, and the presets left out: they lack a name of `runs.tsv`.

    A line for each `preset`, `parameter`, `phase` and distinct `value` of its runs, smallest first;
    one without a value if only the paper has it. Parameters are named as in
    `published/table6.csv`, or by us where it lacks them; `unit` is empty for rates, and `published`
    is as printed, empty where the paper prints none.
    """
    presets = all_presets(project)
    lines = [line for preset in presets if fits_runs(preset) for line in _lines(preset)]
    left_out = [preset.preset_name for preset in presets if not fits_runs(preset)]
    return pd.DataFrame(lines, columns=COLUMNS), left_out


def fits_runs(project: Project) -> bool:
    """Whether a preset has every budget, target, radius and rate that `runs.tsv` names."""
    preset = project.preset
    for row in (run.row for run in project.runs.values()):
        named: list[tuple[str | None, Collection[str]]] = [
            (row.steps, preset.budgets),
            (row.target, preset.targets),
            (row.radii, preset.radii),
            (row.rates, preset.rates),
        ]
        if any(name is not None and name not in known for name, known in named):
            return False
    return True


def _lines(project: Project) -> Iterator[dict[str, Any]]:
    rows = {name: run.row for name, run in project.runs.items()}
    runs = list(plan_runs(project.preset, rows).values())
    text = project.preset.text
    printed = {line["parameter"]: line for line in published_table("table6")}

    # Name, unit, and the value of a run; None if the run has none.
    known: list[tuple[str, str, Callable[[PlannedRun], float | None]]] = [
        ("training_budget", "tokens", lambda r: r.steps * r.tokens_per_step),
        ("steps", "steps", lambda r: r.steps),
        ("batch_size", "tokens", lambda r: r.tokens_per_step),
        ("sequence_length", "tokens", lambda r: text.sequence_length),
        ("epochs", "of one domain", lambda r: _most_epochs(r, text)),
        ("lr_layer_operator", "", lambda r: r.learning.layer_rate if _layers(r) else None),
        ("lr_norm_operator", "", lambda r: r.learning.norm_rate if _layers(r) else None),
        (
            "lr_dimension_operator",
            "",
            lambda r: r.learning.dimension_rate if r.learns_widths else None,
        ),
        ("lr_theta", "", _weight_rate),
        ("lr_masks", "", lambda r: r.pruning.mask_rate if r.method.prunes else None),
        ("lr_multipliers", "", lambda r: r.pruning.multiplier_rate if r.method.prunes else None),
        ("lr_warmup_ratio", "of the steps", lambda r: r.training.warmup_ratio),
        ("evaluation_interval_m", "steps", lambda r: r.training.evaluate_every),
    ]
    for name, unit, value in known:
        for phase, (of_phase, column) in PHASES.items():
            published = printed.get(name, {}).get(column, "")
            found = {one for r in runs if of_phase(r) and (one := value(r)) is not None}
            values: list[float | None] = [*sorted(found)]
            if not values and published:
                values = [None]
            for one in values:
                place = {"preset": project.preset_name, "parameter": name, "phase": phase}
                yield {**place, "value": one, "unit": unit, "published": published}


def _most_epochs(run: PlannedRun, text: TextSettings) -> float:
    """How often a run reads the domain that it repeats most, under a fixed mixture.

    At least that: a domain may have less text than the preset's upper bound.
    """
    sequences = run.steps * run.training.batch_sequences
    weights = [domain.weight for domain in text.domains.values()]
    return sequences * max(weights) / sum(weights) / text.train_sequences


def _layers(run: PlannedRun) -> bool:
    return run.method.learns_operators and not run.changes_widths


def _weight_rate(run: PlannedRun) -> float | None:
    settings = run.pretraining if run.method.pretrains else run.learning
    return settings.weight_rate if run.method.trains_weights else None
