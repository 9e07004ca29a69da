"""The numbers and text of the table of trials: the rates of every learner, and its losses."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lemon.configuration.trials import RATES
from lemon.perplexity import perplexity_of
from lemon.reporting.facts.gates import CONVERGED_IN_WORDS, NOT_CONVERGED
from lemon.reporting.facts.scores import six_digits
from lemon.reporting.facts.tuning import TrialResult, TunedRates, TuningFacts
from lemon.reporting.numbers import duration, percent, rounded_perplexity
from lemon.reporting.tables.document import Cell, Group, Section, WordedTable, numbers, words


def tuning_table(facts: TuningFacts) -> WordedTable:
    """The table as tidy lines, page, and entries of the manifest."""
    given = {rate for one in facts.rates for rate in one.in_preset if one.results}
    tried = [rate for rate in RATES if rate in given]
    frame = pd.DataFrame(
        [_tidy(one, result) for one in facts.rates for result in one.results],
        columns=[
            *("rates", "run", "trial", "seed", *tried, "tune_loss", "tune_perplexity", "sparsity"),
            *("target_sparsity", "smallest_kept_gate", "converged", "chosen", "seconds"),
        ],
    )
    groups = [
        Group(f"{one.name}: {one.run}", [_cells(one, result, tried) for result in one.results])
        for one in facts.rates
        if one.results
    ]
    columns = [
        *numbers("Trial", "Seed", *(rate.replace("_", " ") for rate in tried)),
        *numbers("Tune loss", "Tune perplexity", "Sparsity", "Smallest kept gate", "Time"),
        *words("", wrap=True),
    ]
    return WordedTable(
        frame,
        subtitle="Each trial takes the whole budget of its run; losses are nats a token on text "
        "that no table reports",
        sections=[Section("Trials", columns, groups, drawn=True)],
        notes=_notes(facts),
        manifest={"inputs": facts.inputs},
    )


def _tidy(one: TunedRates, result: TrialResult) -> dict[str, Any]:
    gates, loss = result.gates, result.loss
    return {
        "rates": one.name,
        "run": result.trial.run,
        "trial": result.trial.number,
        "seed": result.seed,
        **result.values,
        "tune_loss": None if loss is None else round(loss, 5),
        "tune_perplexity": None if loss is None else six_digits(perplexity_of(loss)),
        "sparsity": gates and round(gates.sparsity, 5),
        "target_sparsity": gates and round(gates.target, 5),
        "smallest_kept_gate": gates and round(gates.smallest_kept, 5),
        "converged": gates and gates.converged,
        "chosen": _is_chosen(one, result),
        "seconds": round(result.seconds, 1),
    }


def _is_chosen(one: TunedRates, result: TrialResult) -> bool:
    return one.best is not None and result in one.best.results


def _cells(one: TunedRates, result: TrialResult, tried: list[str]) -> list[str | Cell]:
    gates, best = result.gates, _is_chosen(one, result)
    losses = ("diverged", "")
    if result.loss is not None:
        losses = (f"{result.loss:.3f}", rounded_perplexity(perplexity_of(result.loss)))
    state = [] if gates is None or gates.converged else [NOT_CONVERGED]
    cells = [
        str(result.trial.number),
        str(result.seed),
        *(f"{result.values[rate]:g}" if rate in result.values else "" for rate in tried),
        *losses,
        "" if gates is None else f"{percent(gates.sparsity)} of {percent(gates.target)}",
        "" if gates is None else f"{gates.smallest_kept:.2f}",
        duration(result.seconds),
        ", ".join((["chosen"] if best else []) + state),
    ]
    return [Cell(text, strong=best and bool(text)) for text in cells]


def _notes(facts: TuningFacts) -> list[str]:
    notes = [
        "Chosen are the rates with the lowest loss on the tune text, of the model as it would be "
        "exported; where some were tried with several seeds, those with the lowest mean. A few "
        "thousand tokens: small differences may be noise.",
        f"Gates: {CONVERGED_IN_WORDS}. They are shown, and decide nothing.",
    ]
    for one in facts.rates:
        if one.fixed:
            notes.append(f"{one.name}: not varied, {', '.join(one.fixed)}.")
        if faults := one.faults(facts.most_tried(one.stage)):
            notes.append(f"{one.name} is not a fair choice yet: {'; '.join(faults)}.")
    return notes
