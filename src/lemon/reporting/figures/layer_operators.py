"""The text of Figures 5 and 10: the learned gamma, and claim C25."""

from __future__ import annotations

from lemon.configuration.paper import COMPONENTS
from lemon.reporting.claims.layer_operators import MEASURED
from lemon.reporting.facts.layer_operators import LayerOperatorFacts
from lemon.reporting.figures.figure_numbers import (
    FigureNumbers,
    departures_in_words,
    figure_numbers,
)


def layer_operator_numbers(facts: LayerOperatorFacts) -> FigureNumbers:
    """The gamma of a figure's panels, learned and initial, with caption and findings."""
    caption = [f"Preset {facts.setup.name}, {facts.setup.label}."]
    for run in facts.runs:
        source, target = run.fused_shape.num_hidden_layers, run.target_shape.num_hidden_layers
        caption.append(
            f"Run {run.id}: {source} layers fused to {target}, gamma learned from "
            f"{run.row.start}; weights frozen."
        )
    for component in dict.fromkeys(panel.component for panel in facts.spec.panels):
        parts = COMPONENTS.get(component, ())
        if len(parts) > 1:
            caption.append(f"{component}: mean of gamma over {', '.join(parts)}.")
    caption += [
        "Row: target layer; column: source layer. One scale, that of the largest change, in all "
        "panels; a dash marks entries below a quarter of its negative end. Start layer: where the "
        "start of a row is largest.",
        *facts.spec.notes,
        departures_in_words(facts.departures),
    ]
    return figure_numbers(facts, caption, MEASURED)
