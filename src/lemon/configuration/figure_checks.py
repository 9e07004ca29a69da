"""Checks of the figures of weights and operators in `paper.yaml` against the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from lemon.configuration.methods import METHODS, SECOND_SIZE
from lemon.configuration.paper import (
    BLOCKS,
    CLAIMS,
    COMPONENTS,
    NORMS,
    PAIRED,
    SIZES,
    FigurePanel,
    FigureSpec,
    PaperEntry,
)
from lemon.configuration.planned_run import start_run
from lemon.configuration.runs import Run
from lemon.configuration.yaml_files import Document, Place, Problem, did_you_mean
from lemon.published.tables import published_claims


def check_figures(
    tables: dict[str, PaperEntry],
    document: Document,
    runs: dict[str, Run],
    run_ids: Collection[str],
) -> Iterator[Problem]:
    """The mistakes in figures of weights and operators.

    Args:
        tables: entries of `paper.yaml`.
        document: the file, for the lines.
        runs: the runs without mistakes.
        run_ids: every id in `runs.tsv`; empty if it can't be read.
    """
    for name, figure in tables.items():
        if not isinstance(figure, FigureSpec):
            continue
        for message in _claim_mistakes(figure, runs):
            yield document.problem((name, "claims"), message)
        shown: dict[tuple[str, str], int] = {}
        for index, panel in enumerate(figure.panels):
            place: Place = (name, "panels", index)
            for key, message in _component_mistakes(figure, panel):
                yield document.problem((*place, key), message)
            for keys, message in _run_mistakes(figure, panel, runs, run_ids):
                yield document.problem((*place, *keys), message)
            first = shown.setdefault((panel.run, panel.component), index)
            if first != index:
                message = f"shows what panel {first + 1} shows; leave one of them out"
                yield document.problem(place, message)


def _claim_mistakes(figure: FigureSpec, runs: dict[str, Run]) -> Iterator[str]:
    """Claims that are unknown, named twice, or not measured on the figure's panels."""
    known, measured, panels = published_claims(), CLAIMS[figure.renderer], figure.panels
    for claim, count in Counter(figure.claims).items():
        if claim not in known:
            yield f"claims.csv has no {claim}, {did_you_mean(claim, known)}"
        elif claim not in measured:
            yield f"{claim} is not measured by {figure.renderer}; it measures {', '.join(measured)}"
        elif count > 1:
            yield f"{claim} is named {count} times; name it once"
        elif claim in PAIRED and len(panels) < 2:
            yield f"{claim} compares two panels, and there is one; add the other"
        elif claim == BLOCKS and panels[0].component not in ("mha", "ffn"):
            yield f"{claim} needs several matrix types; let the first panel show mha or ffn"
        elif claim in PAIRED and claim != SIZES:
            given = [p.run for p in panels[1:] if p.run in runs and runs[p.run].target is None]
            if given:
                yield f"{claim} compares fused models with the source; {given[0]} is not fused"


def _component_mistakes(figure: FigureSpec, panel: FigurePanel) -> Iterator[tuple[str, str]]:
    """Mistakes in the component of a panel, as (key, message)."""
    if panel.component in NORMS and figure.renderer != "layer_operators":
        yield (
            "component",
            f"{panel.component} has no similarity; take one of {', '.join(COMPONENTS)}",
        )
    if figure.renderer == "activation_similarity" and panel.component not in ("mha", "ffn"):
        yield "component", f"{panel.component} has no output of its own; take mha or ffn"


def _run_mistakes(
    figure: FigureSpec, panel: FigurePanel, runs: dict[str, Run], run_ids: Collection[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Mistakes in the run of a panel or of its stand-in, as (keys, message)."""
    named: dict[tuple[str, ...], str] = {("run",): panel.run}
    if panel.otherwise is not None:
        named["otherwise", "run"] = panel.otherwise.run
    for key, name in named.items():
        if run_ids and name not in run_ids:
            yield key, f"no run {name}, {did_you_mean(name, run_ids)}"
    stand_in = runs.get(named.get(("otherwise", "run"), ""))
    if stand_in is not None and stand_in.method == SECOND_SIZE:
        message = f"{stand_in.id} is a second size itself; name a run that every preset has"
        yield ("otherwise", "run"), message
    if panel.run not in runs:
        return
    if (runs[panel.run].method == SECOND_SIZE) != panel.shows_second_size:
        message = (
            "is not a second size, and otherwise stands in for one alone; leave otherwise out"
            if panel.shows_second_size
            else "is a second size, which not every preset has; say in otherwise what to show then"
        )
        yield ("run",), f"{panel.run} {message}"
    elif figure.renderer == "layer_operators":
        run = runs[panel.run]
        if not METHODS[run.method].learns_operators or run.radii is not None:
            message = "learns no layer operators; name a run of method lemon over depth"
            yield ("run",), f"{panel.run} {message}"
        elif start_run(runs, run) is None:
            like = f"method {run.start}, target {run.target}, seed {run.seed}, source {run.source}"
            yield (
                ("run",),
                f"no run has the operators that {panel.run} starts from; add one: {like}",
            )
