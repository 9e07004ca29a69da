"""Where a figure of weights or operators is not the paper's: the model, how its runs learned."""

from __future__ import annotations

from lemon.configuration.methods import METHODS
from lemon.configuration.paper import FigureSpec
from lemon.configuration.project import Project
from lemon.published.tables import published_setup
from lemon.reporting.facts.departures import Departure


def figure_departures(project: Project, spec: FigureSpec) -> list[Departure]:
    """Every setting behind a figure that differs from the paper's."""
    paper, source = published_setup(), project.preset.source.label
    found = []
    if source != paper["source"]:
        found.append(Departure("model", source, paper["source"]))
    for panel in spec.panels:
        given = project.given_model(panel.run)
        name = panel.run if given is None else given.label
        if panel.shows_second_size and name != paper["second_size"]:
            found.append(Departure("second size", name, paper["second_size"]))
    for run in spec.runs:
        if METHODS[project.run(run).method].learned:
            found += _learning(project, run, paper)
    return found


def _learning(project: Project, run: str, paper: dict[str, str]) -> list[Departure]:
    """Steps, tokens and rate of one run that learns operators."""
    settings, steps = project.learning(run), project.steps(run)
    tokens = settings.batch_sequences * project.preset.text.sequence_length
    in_paper = int(paper["batch_sequences"]) * int(paper["sequence_length"])
    rate = "dimension_rate" if project.changes_widths(run) else "layer_rate"
    pairs = (
        ("steps", steps, int(paper["fusion_steps"])),
        ("tokens a step", tokens, in_paper),
        ("peak rate", getattr(settings, rate), float(paper[rate])),
    )
    return [
        Departure(f"{words} of {run}", f"{here:,}", f"{there:,}")
        for words, here, there in pairs
        if here != there
    ]


def departures_in_words(departures: list[Departure]) -> str:
    """The departures as the last sentence of a caption."""
    if not departures:
        return "No departure from the paper."
    each = "; ".join(f"{d.setting} {d.here} (paper {d.paper})" for d in departures)
    return f"Departures: {each}."
