"""Contradictions between the paper's budgets, sizes and sentences, recomputed."""

from __future__ import annotations

from math import ceil

from lemon.published.models import SOURCE_MODEL, published_models, published_shape
from lemon.published.tables import published_setup, published_table, published_text
from lemon.reporting.facts.curves import LEMON, SHEARED
from lemon.reporting.facts.errata_of_scores import Erratum
from lemon.reporting.numbers import count, millions, percent

BILLION = 10**9
UNITS = {"B": BILLION, "T": 1000 * BILLION}  # of printed token counts


def errata_of_settings() -> list[Erratum]:
    """The contradictions in Tables 1, 5 and 6 and in the text's budgets, by their ids."""
    return [
        _first_phase(),
        _steps(),
        _scratch(),
        _powers(),
        _fusion_steps(),
        _pretraining_steps(),
        _widths(),
        _same_shape(),
    ]


def _first_phase() -> Erratum:
    setup, quoted = published_setup(), _curve_steps()
    fusion, pruning = int(setup["fusion_steps"]), int(setup["pruning_steps"])
    shares = [(fusion, pruning), (quoted[LEMON], pruning), (quoted[LEMON], quoted[SHEARED])]
    saved = [f"{1 - a / b:.1%} for {a:,} of {b:,}".replace("%", " %") for a, b in shares]
    return Erratum(
        "E14",
        "1, 4.1, 4.3",
        f"the first phase saves {published_text()['first_phase_saved']} %",
        f"in steps {', '.join(saved)}",
        "C08 has no one budget; steps, tokens and time are compared apart",
    )


def _steps() -> Erratum:
    quoted, pruning = _curve_steps(), int(published_setup()["pruning_steps"])
    whole, equal = quoted[LEMON] / pruning, quoted[LEMON] / quoted[SHEARED]
    return Erratum(
        "E15",
        "4.3",
        f"fusion takes {published_text()['steps_of_pruning']} % of the steps of pruning",
        f"{percent(whole)} of its whole run, {percent(equal)} of the steps to equal perplexity",
        "C06 is tested at the share to equal perplexity",
    )


def _scratch() -> Erratum:
    budget = _tokens(published_table("table6")[0]["continued_pretraining"])
    share = float(published_text()["share_of_scratch"]) / 100
    known = sorted({_tokens(cell["tokens"]) for cell in published_table("table2")} - {budget})
    return Erratum(
        "E16",
        "1, Table 2",
        f"{published_text()['share_of_scratch']} % of the budget from scratch",
        f"{budget / BILLION:g}B is that of {budget / share / BILLION:.0f}B; the models of Table 2 "
        f"have {', '.join(f'{tokens / BILLION:g}B' for tokens in known)}",
        "no model of the paper has this budget",
    )


def _powers() -> Erratum:
    widths = [line for line in published_table("table1") if line["operator"] != "layer"]
    printed = sum(int(line["count_if_printed_power_all_r2"]) for line in widths)
    right = sum(int(line["count_7b_to_2p7b_all_r2"]) for line in widths)
    return Erratum(
        "E20",
        "Table 1, equation 3",
        f"sizes fall with r: {millions(printed)} for 7B to 2.7B at r = 2",
        f"with r² by equation 3: {millions(right)}",
        "operators here have the sizes of equation 3; our Table 1 has both",
    )


def _fusion_steps() -> Erratum:
    setup, table = published_setup(), _hyper_parameters("fusion")
    batch = int(setup["batch_sequences"]) * int(setup["sequence_length"])
    ablation, released = int(setup["fusion_steps"]), int(table["steps"])
    return Erratum(
        "E34",
        "4.1, 4.4, Table 6",
        f"{ablation:,} steps of fusion in the text, {released:,} steps and "
        f"{table['training_budget']} tokens in Table 6",
        f"{ablation * batch / BILLION:.3f}B and {released * batch / BILLION:.3f}B tokens at "
        f"{count(batch)} a step",
        "the text's steps are those of the ablations, the table's those of the released sizes",
    )


def _pretraining_steps() -> Erratum:
    setup, table = published_setup(), _hyper_parameters("continued_pretraining")
    batch = int(setup["pretraining_batch_sequences"]) * int(setup["sequence_length"])
    steps, budget = int(table["steps"]), _tokens(table["training_budget"])
    return Erratum(
        "E35",
        "Table 6",
        f"{steps:,} steps for {table['training_budget']} tokens",
        f"{steps * batch / BILLION:.2f}B tokens; {table['training_budget']} need "
        f"{ceil(budget / batch):,} steps",
        "a zero is missing",
    )


def _widths() -> Erratum:
    source, narrow = (published_models()[name] for name in (SOURCE_MODEL, "LEMON-2.7B"))
    ffn = narrow.shape.intermediate_size / source.shape.intermediate_size
    return Erratum(
        "E41",
        "4.4, Table 5",
        f"{published_text()['widths_kept']} % of the dimensions",
        f"{percent(narrow.shape.hidden_size / source.shape.hidden_size)} of the hidden size, "
        f"{percent(ffn)} of the FFN, {percent(narrow.parameters / source.parameters)} of the "
        "parameters",
        "the FFN is rounded up to a multiple of 128",
    )


def _same_shape() -> Erratum:
    name, other = "LEMON-Horizontal-37.5%", "LEMON-2.7B"
    same = published_shape(name) == published_shape(other)
    parameters = published_models()[other].parameters
    return Erratum(
        "E42",
        "Tables 4, 5",
        f"{name} and {other} as two models",
        f"{'one shape' if same else 'two shapes'}, {count(parameters)} parameters",
        "Table 4 is the 2.7B model before its pre-training",
    )


def _curve_steps() -> dict[str, int]:
    return {line["curve"]: int(line["step"]) for line in published_table("figure4")}


def _hyper_parameters(phase: str) -> dict[str, str]:
    return {line["parameter"]: line[phase] for line in published_table("table6")}


def _tokens(printed: str) -> float:
    """A printed number of tokens, `0.26B` or `2T`."""
    return float(printed[:-1]) * UNITS[printed[-1]]
