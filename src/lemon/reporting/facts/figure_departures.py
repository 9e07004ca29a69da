"""What differs from the paper in a figure of weights, activations or operators."""

from __future__ import annotations

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.project import Project
from lemon.published.tables import published_setup
from lemon.reporting.facts.departures import Departure


def figure_departures(project: Project, spec: FigureSpec) -> list[Departure]:
    """All settings of a figure that differ from the paper's."""
    paper, source = published_setup(), project.preset.source.label
    found = []
    if source != paper["source"]:
        found.append(Departure("model", source, paper["source"]))
    for panel in spec.panels:
        given = project.run(panel.run).given_model
        name = panel.run if given is None else given.label
        if panel.shows_second_size and name != paper["second_size"]:
            found.append(Departure("second size", name, paper["second_size"]))
    length, length_in_paper = project.preset.text.sequence_length, int(paper["sequence_length"])
    for run in map(project.run, spec.runs):
        if not run.method.learned:
            continue
        rate = "dimension_rate" if run.changes_widths else "layer_rate"
        batch, batch_in_paper = run.learning.batch_sequences, int(paper["batch_sequences"])
        found += [
            Departure(f"{words} of {run.id}", f"{here:,}", f"{there:,}")
            for words, here, there in (
                ("steps", run.steps, int(paper["fusion_steps"])),
                ("tokens a step", batch * length, batch_in_paper * length_in_paper),
                ("peak rate", getattr(run.learning, rate), float(paper[rate])),
            )
            if here != there
        ]
    return found
