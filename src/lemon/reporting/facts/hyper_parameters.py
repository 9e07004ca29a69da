"""The hyper-parameters of every preset by phase of training, beside the paper's Table 6."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from lemon.configuration.planned_run import PlannedRun, plan_runs
from lemon.configuration.preset import TextSettings
from lemon.configuration.project import Project
from lemon.published.tables import published_table
from lemon.reporting.facts.model_sizes import all_presets

# Phase -> (the runs that are in it, its column in published/table6.csv).
PHASES: dict[str, tuple[Callable[[PlannedRun], bool], str]] = {
    "pruning": (lambda run: run.method.prunes, ""),
    "fusion": (lambda run: run.method.learns_operators, "fusion"),
    "pre-training": (lambda run: run.method.pretrains, "continued_pretraining"),
}


@dataclass(frozen=True)
class HyperParameter:
    """One hyper-parameter of one preset.

    Attributes:
        name: its name in `published/table6.csv`; ours where the paper's table lacks it.
        unit: of the values; empty for rates.
        values: by phase, the distinct values of its runs, smallest first; none where no run has it.
        published: by phase, as printed; empty where the paper prints none.
    """

    name: str
    unit: str
    values: dict[str, tuple[float, ...]]
    published: dict[str, str]


def hyper_parameters(project: Project, *_: object) -> dict[str, list[HyperParameter]]:
    """The hyper-parameters by preset; none of a preset that lacks a name of `runs.tsv`."""
    return {
        preset.preset_name: list(_lines(preset)) if fits_runs(preset) else []
        for preset in all_presets(project)
    }


def fits_runs(project: Project) -> bool:
    """Whether a preset has every budget, target, radius and rate that `runs.tsv` names."""
    preset = project.preset
    for run in project.runs.values():
        row = run.row
        named: list[tuple[str | None, Collection[str]]] = [
            (row.steps, preset.budgets),
            (row.target, preset.targets),
            (row.radii, preset.radii),
            (row.rates, preset.rates),
        ]
        if any(name is not None and name not in known for name, known in named):
            return False
    return True


def _lines(project: Project) -> Iterable[HyperParameter]:
    rows = {name: run.row for name, run in project.runs.items()}
    runs = list(plan_runs(project.preset, rows).values())
    length = project.preset.text.sequence_length
    printed = {line["parameter"]: line for line in published_table("table6")}

    def layers(run: PlannedRun) -> bool:
        return run.method.learns_operators and not run.changes_widths

    # Name, unit, value of a run, and whether the run has it.
    known: list[tuple[str, str, Callable[[PlannedRun], float], Callable[[PlannedRun], bool]]] = [
        ("training_budget", "tokens", lambda run: run.steps * run.tokens_per_step, _always),
        ("steps", "steps", lambda run: run.steps, _always),
        ("batch_size", "tokens", lambda run: run.tokens_per_step, _always),
        ("sequence_length", "tokens", lambda run: length, _always),
        ("epochs", "of one domain", lambda run: _most_epochs(run, project.preset.text), _always),
        ("lr_layer_operator", "", lambda run: run.learning.layer_rate, layers),
        ("lr_norm_operator", "", lambda run: run.learning.norm_rate, layers),
        (
            "lr_dimension_operator",
            "",
            lambda run: run.learning.dimension_rate,
            lambda run: run.learns_widths,
        ),
        ("lr_theta", "", _weight_rate, lambda run: run.method.trains_weights),
        ("lr_masks", "", lambda run: run.pruning.mask_rate, lambda run: run.method.prunes),
        (
            "lr_multipliers",
            "",
            lambda run: run.pruning.multiplier_rate,
            lambda run: run.method.prunes,
        ),
        ("lr_warmup_ratio", "of the steps", lambda run: run.training.warmup_ratio, _always),
        ("evaluation_interval_m", "steps", lambda run: run.training.evaluate_every, _always),
    ]
    for name, unit, value, has in known:
        values, published = {}, {}
        for phase, (of_phase, column) in PHASES.items():
            own = [run for run in runs if of_phase(run) and has(run)]
            values[phase] = tuple(sorted({value(run) for run in own}))
            published[phase] = printed.get(name, {}).get(column, "") if column else ""
        yield HyperParameter(name, unit, values, published)


def _most_epochs(run: PlannedRun, text: TextSettings) -> float:
    """How often a run reads the domain that it repeats most, under a fixed mixture.

    At least that: a domain may have less text than the preset's upper bound.
    """
    sequences = run.steps * run.training.batch_sequences
    weights = [domain.weight for domain in text.domains.values()]
    return sequences * max(weights) / sum(weights) / text.train_sequences


def _always(run: PlannedRun) -> bool:
    return True


def _weight_rate(run: PlannedRun) -> float:
    return run.pretraining.weight_rate if run.method.pretrains else run.learning.weight_rate
