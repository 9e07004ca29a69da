"""What learning took: read from the events, added up along the starts, shown in every form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from chained_table import PRUNING_STEPS, chained
from fabricated_runs import write_metrics, write_runs, write_scored
from replanned import replanned

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.facts.costs import Cost, RowCost, own_cost, total_cost
from lemon.reporting.numbers import duration
from lemon.reporting.tables.sections import learning_section
from lemon.tracking.records import table_records


@pytest.fixture(scope="module")
def project(laptop: Project) -> Project:
    return chained(laptop)


@pytest.fixture(scope="module")
def rendered(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("costs")
    write_runs(project, "table3", folder / "runs", documents=12)
    write_scored(project, "table3", folder / "runs", folder / "tables")
    return folder


def tokens_per_step(project: Project) -> int:
    return project.preset.learning.batch_sequences * project.preset.text.sequence_length


def test_the_own_cost_is_that_of_the_last_event(project: Project, tmp_path: Path) -> None:
    write_metrics(tmp_path / "shear-75", PRUNING_STEPS, tokens_per_step=100, seconds_per_step=0.5)
    own = own_cost(project.run("shear-75"), tmp_path)
    assert own == Cost(PRUNING_STEPS, 100 * PRUNING_STEPS, 0.5 * PRUNING_STEPS)
    assert own_cost(project.run("cut-75"), tmp_path) == Cost(0, 0, 0)


def test_a_start_that_is_a_run_adds_its_cost(project: Project, tmp_path: Path) -> None:
    fusion = project.run("lemon-prune-75").steps
    write_metrics(tmp_path / "shear-75", PRUNING_STEPS, tokens_per_step=100, seconds_per_step=0.5)
    write_metrics(tmp_path / "lemon-prune-75", fusion, tokens_per_step=10, seconds_per_step=4)
    pruning = total_cost(project.run("shear-75"), tmp_path)
    assert pruning == own_cost(project.run("shear-75"), tmp_path)  # its start, cut, is a method
    expected = Cost(
        PRUNING_STEPS + fusion, 100 * PRUNING_STEPS + 10 * fusion, 0.5 * PRUNING_STEPS + 4 * fusion
    )
    assert total_cost(project.run("lemon-prune-75"), tmp_path) == expected
    assert total_cost(project.run("selection-75"), tmp_path) == pruning  # learns nothing of its own


def test_missing_and_unfinished_learning_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"shear-75/metrics\.jsonl: holds no events of learning"):
        total_cost(project.run("lemon-prune-75"), _learned(project, tmp_path, "lemon-prune-75"))
    write_metrics(tmp_path / "shear-75", steps=PRUNING_STEPS - 1)
    with pytest.raises(BadInput, match=r"ends after step 29, and shear-75 has 30 steps"):
        own_cost(project.run("shear-75"), tmp_path)


def _learned(project: Project, runs: Path, run: str) -> Path:
    write_metrics(runs / run, project.run(run).steps)
    return runs


def test_a_table_without_the_metrics_of_a_start_is_not_written(
    project: Project, tmp_path: Path
) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    (runs / "shear-75" / "metrics.jsonl").unlink()
    with pytest.raises(BadInput, match="shear-75"):
        write_scored(project, "table3", runs, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_the_csv_has_steps_and_tokens_in_all_and_no_time(project: Project, rendered: Path) -> None:
    lines = pd.read_csv(rendered / "tables" / "table3.csv")
    learning = lines[lines["task"] == "learning"]
    found = {(line["method"], line["metric"]): line["value"] for _, line in learning.iterrows()}
    fusion, batch = project.run("lemon-prune-75").steps, tokens_per_step(project)
    steps = {
        "Shear": PRUNING_STEPS,
        "LEMON-Prune": PRUNING_STEPS + fusion,
        "LEMON-Random": fusion,
        "Shear (selection, source weights)": PRUNING_STEPS,
    }
    assert found == {
        **{(row, "steps"): count for row, count in steps.items()},
        **{(row, "tokens"): count * batch for row, count in steps.items()},
    }
    assert learning["verdict"].isna().all()
    assert learning.set_index("method")["seeds"].to_dict()["LEMON-Random"] == 3


def test_the_manifest_and_the_renderings_tell_what_learning_took(rendered: Path) -> None:
    tables = rendered / "tables"
    learning = json.loads((tables / "table3.manifest.json").read_text())["learning"]
    prune = next(line for line in learning if line["label"] == "LEMON-Prune")
    assert prune["start"] == "Shear"  # the label of the row that the start fills
    assert prune["total"]["seconds"] == prune["own"]["seconds"] + 2.0 * PRUNING_STEPS
    for suffix in ("md", "html", "tex"):
        text = (tables / f"table3.{suffix}").read_text()
        section = text[text.index("Training cost") :]
        assert f"{prune['total']['steps']:,.0f}" in section
        assert f"(own {prune['own']['tokens']:,.0f})" in section
        assert duration(prune["total"]["seconds"]) in section


def test_factors_compare_with_the_first_row_of_the_depth() -> None:
    shear, own = Cost(30, 3000, 60.0), Cost(10, 1000, 90.0)
    costs = [
        RowCost("Shear", 22, ("shear-75",), "cut", shear, shear),
        RowCost("LEMON-Prune", 22, ("lemon-prune-75",), "Shear", own, shear + own),
        RowCost("LEMON-Cut", 15, ("lemon-cut-50",), "cut", own, own),
    ]
    target_of = {cost.runs: f"depth of {cost.layers}" for cost in costs}
    first, second = learning_section(costs, target_of, staged=False).groups
    layers, label, *_, factor = second.rows[0]
    assert (layers.text, label.text, factor.text) == ("15", "LEMON-Cut", "×1.00")
    assert [line[5].text for line in first.rows] == ["×1.00", "×1.33"]
    assert [line[7].text for line in first.rows] == ["×1.00", "×2.50"]
    steps, _, _, time = first.rows[1][3:7]
    assert (steps.text, time.text, time.aside) == ("40", "2.5 min", "(own 1.5 min)")
    assert first.rows[0][3].aside == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1.0 min"), (3594, "59.9 min"), (3599, "1.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_records_hold_the_cost_of_a_run_with_its_start(project: Project, rendered: Path) -> None:
    folder = rendered / "results"
    write_scored(project, "table3", rendered / "runs", folder / "tables")
    records = table_records(project, "table3", rendered / "runs", folder)
    metrics = {
        record.tags["run"]: {m.name: m.value for m in record.metrics if m.name.startswith("cost/")}
        for record in records
        if "run" in record.tags
    }
    steps = PRUNING_STEPS + project.run("lemon-prune-75").steps
    assert metrics["lemon-prune-75"] == {
        "cost/steps": steps,
        "cost/tokens": steps * tokens_per_step(project),
        "cost/seconds": 2.0 * steps,
    }
    assert metrics["selection-75"]["cost/steps"] == PRUNING_STEPS
    assert metrics["cut-75"] == {}
    again = table_records(project, "table3", rendered / "runs", folder)
    assert [record.digest for record in again] == [record.digest for record in records]


def test_a_start_in_no_row_is_named_by_its_run(project: Project, tmp_path: Path) -> None:
    spec = project.table("table3")
    rows = tuple(row for row in spec.rows if row.label != "Shear")
    pairs = tuple(pair for pair in spec.comparisons if "shear-75" not in (pair.first, pair.second))
    table = spec.model_copy(update={"rows": rows, "comparisons": pairs})
    smaller = replace(project, tables={"table3": table})
    runs = write_runs(smaller, "table3", tmp_path / "runs", documents=4)
    write_scored(smaller, "table3", runs, tmp_path / "tables")
    manifest = json.loads((tmp_path / "tables" / "table3.manifest.json").read_text())
    assert {line["label"]: line["start"] for line in manifest["learning"]} == {
        "LEMON-Prune": "shear-75",
        "LEMON-Random": "random",
        "Shear (selection, source weights)": "shear-75",
    }


def test_the_second_of_two_stages_carries_the_first(laptop: Project, tmp_path: Path) -> None:
    runs = write_runs(laptop, "small", tmp_path / "runs", documents=4)
    write_scored(laptop, "small", runs, tmp_path / "tables")
    manifest = json.loads((tmp_path / "tables" / "small.manifest.json").read_text())
    rows = {line["label"]: line for line in manifest["learning"]}
    stages = ("lemon-width-small", "lemon-small-width-first")
    first, second = (laptop.run(run).steps for run in stages)
    widths = rows["LEMON-Cut, widths first"]
    assert widths["total"]["steps"] == first + second
    assert widths["own"]["steps"] == second
    assert widths["start"] == "cut, on the model of lemon-width-small"
    assert rows["LEMON-Cut, layers first"]["start"] == "cut, on the model of lemon-cut-75"
    assert "second of two stages" in (tmp_path / "tables" / "small.md").read_text()


def test_what_stands_behind_a_run_twice_costs_once(project: Project, tmp_path: Path) -> None:
    """Both the start and the run fuse the model of `shear-75`."""
    start, run = (project.run(name).row for name in ("lemon-random-75-s0", "lemon-prune-75"))
    staged = replanned(
        project,
        start.model_copy(update={"source": "shear-75"}),
        run.model_copy(update={"source": "shear-75", "start": start.id}),
    )
    for run in ("shear-75", "lemon-prune-75", "lemon-random-75-s0"):
        write_metrics(tmp_path / run, staged.run(run).steps)
    total = total_cost(staged.run("lemon-prune-75"), tmp_path)
    assert total.steps == PRUNING_STEPS + 2 * project.run("lemon-prune-75").steps
