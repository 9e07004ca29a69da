"""The numbers and text of figures of layer similarity."""

from __future__ import annotations

from lemon.configuration.paper import COMPONENTS
from lemon.reporting.claims.similarity import BOUND, MEASURED
from lemon.reporting.facts.similarity_maps import SimilarityFacts
from lemon.reporting.figures.figure_numbers import (
    FigureNumbers,
    Panel,
    departures_in_words,
    figure_numbers,
)
from lemon.reporting.numbers import widths_in_words

OF_WEIGHTS = (
    "Linear CKA of weights; rows are the residual coordinates, columns the units, centred. Random "
    "floor: plain CKA of independent random matrices, p / (p + n) for p units and n residual "
    "coordinates; debiased CKA of those is 0."
)
OF_ACTIVATIONS = (
    "Linear CKA of outputs before they are added to the residual stream; rows are 2,048 held-out "
    "tokens, the first of a sequence left out, columns the coordinates, centred."
)


def similarity_numbers(facts: SimilarityFacts) -> FigureNumbers:
    """The maps of a figure's panels, with caption and findings."""
    caption = [f"Preset {facts.setup.name}, {facts.setup.label}."]
    for run in facts.runs:
        shape = run.target_shape
        sizes = f"{shape.num_hidden_layers} layers, hidden {widths_in_words(shape)}"
        caption.append(f"Run {run.id}: {sizes}.")
    of_weights = facts.spec.renderer == "weight_similarity"
    for component in dict.fromkeys(panel.component for panel in facts.panels):
        parts = COMPONENTS[component]
        if of_weights and len(parts) > 1:
            caption.append(f"{component}: mean of the maps of {', '.join(parts)}.")
    caption += [OF_WEIGHTS if of_weights else OF_ACTIVATIONS, *facts.spec.notes]
    caption.append(departures_in_words(facts.departures))
    outlined = [list(partition.blocks) for partition in facts.partitions]
    panels = [
        Panel(panel.label, panel.component, panel.floor, blocks)
        for panel, blocks in zip(facts.panels, outlined or [[]] * len(facts.panels), strict=True)
    ]
    bound = BOUND if "C24" in facts.spec.claims else None
    return figure_numbers(facts, caption, MEASURED, panels=panels, bound=bound)
