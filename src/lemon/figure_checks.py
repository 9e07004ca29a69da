"""What the figures of weights and operators in `paper.yaml` must agree on with the runs."""

from __future__ import annotations

from collections.abc import Iterator

from lemon.config_files import Document, Place, Problem, did_you_mean
from lemon.figure_entries import COMPONENTS, NORMS, FigurePanel, FigureSpec
from lemon.registry import METHODS, SECOND_SIZE, PaperEntry, Run
from lemon.run_checks import start_run
from lemon.table_checks import claim_ids


def check_figures(
    tables: dict[str, PaperEntry], document: Document, runs: dict[str, Run]
) -> Iterator[Problem]:
    """Everything that a figure names and nothing provides."""
    known = claim_ids()
    for name, figure in tables.items():
        if not isinstance(figure, FigureSpec):
            continue
        for claim in figure.claims:
            if claim not in known:
                message = f"claims.csv has no {claim}, {did_you_mean(claim, known)}"
                yield document.problem((name, "claims"), message)
        for index, panel in enumerate(figure.panels):
            place: Place = (name, "panels", index)
            for key, message in _panel_mistakes(figure, panel, runs):
                yield document.problem((*place, key), message)
            if panel.otherwise is not None and panel.otherwise.run not in runs:
                message = f"no run {panel.otherwise.run}, {did_you_mean(panel.otherwise.run, runs)}"
                yield document.problem((*place, "otherwise", "run"), message)


def _panel_mistakes(
    figure: FigureSpec, panel: FigurePanel, runs: dict[str, Run]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a panel, as (key, message)."""
    of_operators = figure.renderer == "layer_operators"
    if panel.component in NORMS and not of_operators:
        yield (
            "component",
            f"{panel.component} has no similarity; take one of {', '.join(COMPONENTS)}",
        )
    if figure.renderer == "activation_similarity" and panel.component not in ("mha", "ffn"):
        yield "component", f"{panel.component} puts nothing out by itself; take mha or ffn"
    if panel.run not in runs:
        yield "run", f"no run {panel.run}, {did_you_mean(panel.run, runs)}"
    elif (runs[panel.run].method == SECOND_SIZE) != panel.shows_second_size:
        message = (
            "is not a second size, and otherwise stands in for one alone; leave otherwise out"
            if panel.shows_second_size
            else "is a second size, which not every preset has; say in otherwise what to show then"
        )
        yield "run", f"{panel.run} {message}"
    elif of_operators:
        run = runs[panel.run]
        if "operators" not in METHODS[run.method].learns or run.radii is not None:
            message = "learns no layer operators; name a run of method lemon over depth"
            yield "run", f"{panel.run} {message}"
        elif start_run(runs, run) is None:
            like = f"method {run.start}, target {run.target}, seed {run.seed}, source {run.source}"
            yield "run", f"no run has the operators that {panel.run} starts from; add one: {like}"
