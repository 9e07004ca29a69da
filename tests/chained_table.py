"""A table of one depth in which rows start from the runs of other rows, and some have seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fabricated_runs import scored_text

from lemon.configuration.paper import Comparison, TableRow, TableSpec
from lemon.configuration.planned_run import plan_runs
from lemon.configuration.project import Project
from lemon.configuration.runs import Run
from lemon.reporting.claims.orderings import OrderingTest, ordering_tests
from lemon.reporting.facts.accuracy import accuracy_facts

TASKS = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")
PRUNE, CUT, RANDOM, SHEAR = range(4)  # the comparisons, by their first row
PRUNING_STEPS = 30
TARGET, LAYERS_IN_PAPER = "depth-75", 24


def chained(project: Project) -> Project:
    """The project with `table3` replaced.

    Shear learns from Cut, LEMON-Prune from Shear; the selection learns nothing and starts from
    Shear; LEMON-Random has a run for each seed of Random. LEMON-Cut was not run.
    """
    runs = [
        Run(**_RUN, id="source", method="source", target=None, steps="none", source=None),
        _run("cut-75", "cut"),
        *(_run(f"random-75-s{seed}", "random", seed=seed) for seed in range(3)),
        _run("shear-75", "lemon-trained", "cut", "pruning"),
        _run("lemon-prune-75", "lemon", "shear-75", "fusion"),
        *(_run(f"lemon-random-75-s{s}", "lemon", "random", "fusion", s) for s in range(3)),
        _run("selection-75", "cut", "shear-75"),
    ]
    seeds = [f"-75-s{seed}" for seed in range(3)]
    rows = (
        TableRow(
            label="Source", published_method="LLaMA2-7B", published_layers=32, runs=("source",)
        ),
        _row("Cut", "cut-75"),
        _row("Random", *("random" + seed for seed in seeds)),
        _row("Shear", "shear-75"),
        _row("LEMON-Prune", "lemon-prune-75"),
        _row("LEMON-Cut"),
        _row("LEMON-Random", *("lemon-random" + seed for seed in seeds), ours=True),
        _row("Shear (selection, source weights)", "selection-75", ours=True),
    )
    comparisons = (
        Comparison(claim="C12", first="lemon-prune-75", second="shear-75"),
        Comparison(first="cut-75", second="random-75-s1"),
        Comparison(first="lemon-random-75-s0", second="random-75-s2"),
        Comparison(first="shear-75", second="selection-75"),
    )
    preset = project.preset.model_copy(
        update={"budgets": {**project.preset.budgets, "pruning": PRUNING_STEPS}}
    )
    spec = TableSpec(
        title="Chained rows",
        renderer="accuracy_table",
        published="table3.csv",
        tasks=project.table("table3").tasks,
        rows=rows,
        comparisons=comparisons,
    )
    planned = plan_runs(preset, {run.id: run for run in runs})
    return replace(project, preset=preset, runs=planned, tables={"table3": spec})


def comparing(project: Project, *comparisons: Comparison) -> Project:
    """The project whose `table3` has these comparisons alone."""
    table = project.table("table3").model_copy(update={"comparisons": comparisons})
    return replace(project, tables={"table3": table})


def compared(project: Project, runs: Path) -> list[OrderingTest]:
    """The tests of the comparisons of `table3`."""
    return ordering_tests(accuracy_facts(project, "table3", runs, scored_text(runs)))


_RUN = {"start": None, "radii": None, "seed": 0}


def _run(id: str, method: str, start: str | None = None, steps: str = "none", seed: int = 0) -> Run:
    given = {"id": id, "method": method, "start": start, "steps": steps, "seed": seed}
    return Run(**{**_RUN, **given, "target": TARGET, "source": "source"})


def _row(label: str, *runs: str, ours: bool = False) -> TableRow:
    published = {} if ours else {"published_method": label, "published_layers": LAYERS_IN_PAPER}
    return TableRow(label=label, target=TARGET, runs=runs, **published)
