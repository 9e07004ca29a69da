"""Checks of the figures of weights and operators in `paper.yaml` against the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from lemon.architecture import NORM_TYPES
from lemon.configuration.figure_specs import (
    BLOCKS,
    CLAIMS,
    COMPONENTS,
    CONTROLLED,
    OF_CURVES,
    OUTPUTS,
    PAIRED,
    SIZES,
    CurvesSpec,
    FigurePanel,
    FigureSpec,
    MergesSpec,
)
from lemon.configuration.methods import METHODS, SECOND_SIZE
from lemon.configuration.row_lookups import start_run
from lemon.configuration.runs import Run
from lemon.configuration.yaml_files import Mistake, Place, did_you_mean
from lemon.published.tables import published_claims


def figure_mistakes(
    figure: FigureSpec, runs: Mapping[str, Run], run_ids: Collection[str]
) -> Iterator[Mistake]:
    """The mistakes in a figure of weights or operators; arguments as `paper_mistakes`."""
    for message in _claim_mistakes(figure, runs):
        yield ("claims",), message
    if SIZES in figure.claims and figure.margin is None:
        yield ("claims",), f"{SIZES} needs a margin, within which two sizes count as alike"
    if SIZES not in figure.claims and figure.margin is not None:
        yield ("margin",), f"goes with the claim {SIZES} alone"
    without: dict[Place, Collection[str]] = {("not_tested",): figure.not_tested}
    for index, panel in enumerate(figure.panels):
        if panel.otherwise is not None:
            without["panels", index, "otherwise", "not_tested"] = panel.otherwise.not_tested
    for place, claims in without.items():
        for claim in (claim for claim in claims if claim not in figure.claims):
            yield (*place, claim), "is not among the claims of the figure"
    shown: dict[tuple[str, str], int] = {}
    for index, panel in enumerate(figure.panels):
        for keys, message in (
            *_component_mistakes(figure, panel),
            *_run_mistakes(figure, panel, runs, run_ids),
        ):
            yield ("panels", index, *keys), message
        first = shown.setdefault((panel.run, panel.component), index)
        if first != index:
            message = f"shows what panel {first + 1} shows; leave one of them out"
            yield ("panels", index), message


def curve_mistakes(
    figure: CurvesSpec, runs: Mapping[str, Run], run_ids: Collection[str]
) -> Iterator[Mistake]:
    """The mistakes in a figure of curves; arguments as `paper_mistakes`."""
    for claim in figure.claims:
        if claim not in OF_CURVES:
            yield ("claims",), f"{claim} is not measured on curves, only {' and '.join(OF_CURVES)}"
    kinds = (lambda method: method.teaches, lambda method: method.prunes)
    for index, (fits, what) in enumerate(zip(kinds, ("fusion", "pruning"), strict=True)):
        place: Place = ("curves", index, "runs")
        for run in figure.curves[index].runs:
            if run_ids and run not in run_ids:
                yield place, f"no run {run}, {did_you_mean(run, run_ids)}"
            elif run in runs and not fits(runs[run].traits):
                yield place, f"{run} is no run of {what}"


def merge_mistakes(
    figure: MergesSpec, runs: Mapping[str, Run], run_ids: Collection[str]
) -> Iterator[Mistake]:
    """The mistakes in a figure of merged layers; arguments as `paper_mistakes`."""
    shown: dict[str, int] = {}
    for index, panel in enumerate(figure.panels):
        place: Place = ("panels", index, "run")
        if run_ids and panel.run not in run_ids:
            yield place, f"no run {panel.run}, {did_you_mean(panel.run, run_ids)}"
        elif panel.run in runs and not runs[panel.run].traits.places:
            placing = ", ".join(name for name, method in METHODS.items() if method.places)
            yield place, f"{panel.run} merges no layers in rounds; name a run of {placing}"
        elif shown.setdefault(panel.run, index) != index:
            yield place, f"is shown by panel {shown[panel.run] + 1}; leave one of them out"


def _claim_mistakes(figure: FigureSpec, runs: Mapping[str, Run]) -> Iterator[str]:
    """Claims that are unknown, named twice, or not measured on the figure's panels."""
    known, measured, panels = published_claims(), CLAIMS[figure.renderer], figure.panels
    outputs = [(panels[0].run, component) for component in ("mha", "ffn")]
    shows_outputs = [(one.run, one.component) for one in panels[:2]] == outputs
    for claim, count in Counter(figure.claims).items():
        if claim not in known:
            yield f"claims.csv has no {claim}, {did_you_mean(claim, known)}"
        elif claim not in measured:
            known_there = ", ".join(measured) or "no claim"
            yield f"{claim} is not measured by {figure.renderer}; it measures {known_there}"
        elif count > 1:
            yield f"{claim} is named {count} times; name it once"
        elif claim in PAIRED and len(panels) < 2:
            yield f"{claim} compares two panels, and there is one; add the other"
        elif claim == OUTPUTS and not shows_outputs:
            yield f"{claim} compares mha and ffn of one model; show them first"
        elif claim == BLOCKS and panels[0].component not in ("mha", "ffn"):
            yield f"{claim} needs several matrix types; let the first panel show mha or ffn"
        elif claim in PAIRED and claim != SIZES:
            given = [p.run for p in panels[1:] if p.run in runs and runs[p.run].target is None]
            if given:
                yield f"{claim} compares fused models with the source; {given[0]} is not fused"
            elif claim == CONTROLLED and len(panels) < 3:
                yield f"{claim} needs a control, plain Cut at the same sizes; add it as third panel"


def _component_mistakes(figure: FigureSpec, panel: FigurePanel) -> Iterator[Mistake]:
    name = panel.component
    if name in NORM_TYPES and figure.renderer != "layer_operators":
        yield ("component",), f"{name} has no similarity; take one of {', '.join(COMPONENTS)}"
    if figure.renderer == "activation_similarity" and name not in ("mha", "ffn"):
        yield ("component",), f"{name} has no output of its own; take mha or ffn"
    if figure.renderer == "matched_correlation" and name != "ffn":
        yield ("component",), f"the neurons of {name} are not matched; take ffn"


def _run_mistakes(
    figure: FigureSpec, panel: FigurePanel, runs: Mapping[str, Run], run_ids: Collection[str]
) -> Iterator[Mistake]:
    """Mistakes in the run of a panel or of its stand-in."""
    named: dict[Place, str] = {("run",): panel.run}
    if panel.otherwise is not None:
        named["otherwise", "run"] = panel.otherwise.run
    for place, name in named.items():
        if run_ids and name not in run_ids:
            yield place, f"no run {name}, {did_you_mean(name, run_ids)}"
        if place != ("run",) and name in runs and runs[name].method == SECOND_SIZE:
            yield place, f"{name} is a second size itself; name a run that every preset has"
    run = runs.get(panel.run)
    if run is None:
        return
    second, instead = run.method == SECOND_SIZE, panel.shows_second_size
    if instead and not second:
        message = "is not a second size, and otherwise stands in for one alone; leave otherwise out"
        yield ("run",), f"{run.id} {message}"
    elif second and not instead:
        message = "is a second size, which not every preset has; say in otherwise what to show then"
        yield ("run",), f"{run.id} {message}"
    elif figure.renderer == "layer_operators":
        if not run.traits.learns_operators or run.radii is not None:
            message = "learns no layer operators; name a run of method lemon over depth"
            yield ("run",), f"{run.id} {message}"
        elif start_run(runs, run) is None:
            like = f"method {run.start}, target {run.target}, seed {run.seed}, source {run.source}"
            message = f"no run has the operators that {run.id} starts from; add one: {like}"
            yield ("run",), message
