"""The notes below an accuracy table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lemon.configuration.row_lookups import changes_widths
from lemon.published.tables import AVERAGE
from lemon.reporting.facts.accuracy import AccuracyFacts
from lemon.reporting.facts.outcomes import shots_in_words
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.tables.document import ABOVE_FLOOR


def accuracy_notes(facts: AccuracyFacts, *, ordered: bool) -> Iterator[str]:
    """Notes for reading the numbers; `ordered` if orders are compared with the paper's."""
    spec, label = facts.spec, facts.setup.label
    wide = any(changes_widths(facts.setup.source, shape) for shape in facts.targets.values())
    size = "size" if wide else "depth"
    shots, seeds = shots_in_words(facts.protocols), max(len(row.results) for row in facts.rows)
    if spec.published:
        yield (
            f"Absolute values of {label} are not those of the paper's LLaMA2-7B and are not meant "
            "to be; what can be compared is the order of the methods."
        )
    else:
        yield "The paper prints no such table."
    yield (
        "Accuracies are percent, with 95 % intervals over the documents: Wilson's for one run, the "
        "bootstrap within each task for means over tasks or seeds. Tasks are held fixed."
    )
    if shots:
        yield f"Examples before each question (shots): {shots}; none on the other tasks."
    if seeds > 1:
        yield (
            f"Rows of several seeds (up to {seeds}) show the mean; ± is the standard deviation "
            "over seeds, for perplexity ×÷ its factor around the geometric mean."
        )
    tail = " The paper prints neither." if spec.published else ""
    yield (
        "Bits per byte are those of the right answer, the mean over tasks; less is better. They "
        f"use every answer's likelihood, and tell apart models that all guess.{tail}"
    )
    if facts.floors:
        yield (
            "Perplexity is on held-out text of the training domains; calibrated, at the softmax "
            "temperature that suits the model best on the tune text. Intervals are the bootstrap's "
            "over documents within each domain. The uniform, unigram and bigram floors are models "
            f"of token frequencies, counted on the training text; {ABOVE_FLOOR} marks models that "
            "do no better than the unigram floor."
        )
    yield (
        f"Bold: best of its {size} among the rows run here, where they differ, whether or not the "
        "lead is resolved."
    )
    if ordered:
        yield (
            f"Against {spec.reference[0]}: whether the mean stands to that of "
            f"{_reference_in_words(facts)}, at the "
            f"same {size}, as in the paper; tied where the 95 % paired interval of the difference "
            "holds zero. The CSV says so for every task. These are not adjusted for their number; "
            "the tests in pairs are."
        )
    if not all(row.results for row in facts.rows):
        yield "Rows in italics were not yet run here: no number is given for them."
    if misprints := list(_misprinted_averages(facts.rows)):
        yield (
            "Printed averages of the paper that are not the mean of their cells: "
            f"{'; '.join(misprints)}. Differences here are from the printed value."
        )
    if spec.published and set(facts.spec.tasks) != facts.tasks_in_paper:
        yield "The preset has other tasks than the paper, whose mean is taken over these."


def _misprinted_averages(rows: list[ScoredRow]) -> Iterator[str]:
    """The published averages that are not the mean of their own cells, in words."""
    for row in rows:
        mean = row.scores[AVERAGE]
        printed, recomputed = mean.published, mean.published_recomputed
        if printed is None or recomputed is None or math.isclose(printed, recomputed, abs_tol=0.05):
            continue
        yield (
            f"{row.spec.published_method} ({row.spec.published_layers} layers): printed "
            f"{printed:.1f}, its cells give {recomputed:.2f}"
        )


def _reference_in_words(facts: AccuracyFacts) -> str:
    """The first label of the reference, with the names of its rows in the table if they differ."""
    labels = facts.spec.reference
    found = dict.fromkeys(row.label for row in facts.rows if row.label in labels)
    names = [name if name == labels[0] else f"{labels[0]} (the row {name})" for name in found]
    return " or ".join(names)
