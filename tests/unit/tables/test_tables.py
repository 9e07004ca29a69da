"""Table 3 from fabricated outcomes: numbers, verdicts, renderings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import EXPORT, SETTLED, scored_text, write_metrics, write_runs, write_scored

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.published.tables import published_row
from lemon.reporting.claims.orderings import OPPOSITE_ORDER, SAME_ORDER, TIED, order_verdict
from lemon.reporting.facts.accuracy import AccuracyFacts, accuracy_facts
from lemon.reporting.facts.rows import ScoredRow
from lemon.reporting.facts.scores import BITS, SHARE
from lemon.reporting.facts.statistics import Interval
from lemon.reporting.numbers import rounded_perplexity
from lemon.reporting.tables.accuracy import score_grid

TASKS = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")
CONTRACT = "run,method,layers,task,metric,value,ci_low,ci_high,n,seeds,published,delta,verdict"


@pytest.fixture(scope="module")
def rendered(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    write_runs(project, "table3", folder / "runs")
    write_scored(project, "table3", folder / "runs", folder / "tables")
    return folder


@pytest.fixture(scope="module")
def lines(rendered: Path) -> pd.DataFrame:
    return pd.read_csv(rendered / "tables" / "table3.csv")


def cell(lines: pd.DataFrame, run: str, task: str, metric: str | None = None) -> pd.Series:
    """The line of a run, by default of the accuracy."""
    shown = lines["run"].fillna("").str.startswith(run) & (lines["task"] == task)
    of_metric = lines["metric"] == metric if metric else ~lines["metric"].isin((BITS, SHARE))
    (found,) = lines.index[shown & of_metric]
    return lines.loc[found]


def test_csv_starts_with_the_public_columns(rendered: Path) -> None:
    assert (rendered / "tables" / "table3.csv").read_text().startswith(CONTRACT + ",")


def test_values_are_the_share_of_right_answers(rendered: Path, lines: pd.DataFrame) -> None:
    outcomes = rendered / "runs" / "cut-75" / "outcomes"
    right = {t: pd.read_parquet(outcomes / f"{t}.parquet")["correct"].mean() for t in TASKS}
    for task, share in right.items():
        assert cell(lines, "cut-75", task)["value"] == pytest.approx(100 * share)
    mean = cell(lines, "cut-75", "average")
    assert mean["value"] == pytest.approx(100 * sum(right.values()) / 5)
    assert mean["n"] == 500
    assert mean["ci_low"] < mean["value"] < mean["ci_high"]


def test_published_values_and_differences(lines: pd.DataFrame) -> None:
    mean = cell(lines, "cut-50", "average")
    assert mean["published"] == 40.0
    assert mean["published_recomputed"] == pytest.approx(39.94)
    assert mean["delta"] == pytest.approx(mean["value"] - 40.0)
    assert mean["layers"] == 15 and mean["published_layers"] == 16
    assert cell(lines, "lemon-cut-75", "logiqa")["published"] == 26.9


def test_several_seeds_give_their_mean_and_spread(
    project: Project, rendered: Path, lines: pd.DataFrame
) -> None:
    runs = [run for run in project.table_runs("table3") if run.startswith("random-75")]
    values = []
    for run in runs:
        path = rendered / "runs" / run / "outcomes" / "piqa.parquet"
        values.append(100 * pd.read_parquet(path)["correct"].mean())
    line = cell(lines, "random-75-s0", "piqa")
    assert line["seeds"] == len(runs) > 1
    assert line["value"] == pytest.approx(sum(values) / len(runs))
    assert line["seed_sd"] == pytest.approx(pd.Series(values).std(), abs=1e-4)
    assert pd.isna(cell(lines, "cut-75", "piqa")["seed_sd"])


def test_rows_without_runs_hold_no_number_of_ours(chained_tables: Path) -> None:
    lines = pd.read_csv(chained_tables / "table3.csv")
    absent = lines[lines["method"] == "LEMON-Cut"]
    # 5 tasks and their mean in three measures, and 4 numbers of held-out text
    assert len(absent) == 3 * 6 + 4
    assert absent[["value", "ci_low", "delta", "run"]].isna().all().all()
    assert set(absent["verdict"]) == {"not yet run"}
    assert absent.loc[absent["metric"] == "mean", "published"].tolist() == [62.0]
    for suffix in ("md", "html", "tex"):
        assert "not yet run" in (chained_tables / f"table3.{suffix}").read_text()


def test_the_csv_says_which_rows_are_in_the_paper(chained_tables: Path) -> None:
    text = (chained_tables / "table3.csv").read_text()
    assert text.splitlines()[0].endswith(",in_paper")
    assert {line.rpartition(",")[2] for line in text.splitlines()[1:]} == {"true", "false"}
    lines = pd.read_csv(chained_tables / "table3.csv")
    ours = {"LEMON-Random", "Shear (selection, source weights)"}
    ours |= {"uniform floor", "unigram floor", "bigram floor"}
    assert set(lines.loc[~lines["in_paper"], "method"]) == ours
    assert not ours & set(lines.loc[lines["in_paper"], "method"])


def test_verdicts_compare_with_cut_of_the_same_depth(
    project: Project, rendered: Path, lines: pd.DataFrame
) -> None:
    assert cell(lines, "lemon-cut-75", "average")["verdict"] == SAME_ORDER
    assert pd.isna(cell(lines, "cut-75", "average")["verdict"])
    assert pd.isna(cell(lines, "source", "average")["verdict"])


@pytest.mark.parametrize(
    ("published", "difference", "interval", "verdict"),
    [
        (4.8, 0.1, Interval(0.05, 0.2), SAME_ORDER),
        (4.8, -0.1, Interval(-0.2, -0.05), OPPOSITE_ORDER),
        (-4.8, -0.1, Interval(-0.2, -0.05), SAME_ORDER),
        (4.8, 0.1, Interval(-0.01, 0.2), TIED),
    ],
)
def test_order_verdict(
    published: float, difference: float, interval: Interval, verdict: str
) -> None:
    assert order_verdict(published, difference, interval) == verdict


def test_every_rendering_shows_the_same_numbers(rendered: Path, lines: pd.DataFrame) -> None:
    plain = {
        "md": (rendered / "tables" / "table3.md").read_text(),
        "html": re.sub("<[^>]+>", " ", (rendered / "tables" / "table3.html").read_text()),
        "tex": (rendered / "tables" / "table3.tex").read_text(),
    }
    bits = lines["metric"] == BITS
    accuracy = lines["task"].isin(TASKS) & ~bits & (lines["metric"] != SHARE)
    printed = [f"{value:.1f}" for value in lines.loc[accuracy, "value"].dropna()]
    means = lines.loc[bits & (lines["task"] == "average"), "value"].dropna()
    printed += [f"{value:.2f}" for value in means]
    perplexities = lines.loc[lines["metric"] == "calibrated_perplexity", "value"].dropna()
    printed += [rounded_perplexity(value).partition("×")[0] for value in perplexities]
    floors = lines[lines["method"].str.endswith("floor") & (lines["metric"] == "perplexity")]
    printed += [rounded_perplexity(value) for value in floors["value"]]
    assert len(means) == len(perplexities) == len(lines["run"].dropna().unique())
    assert len(floors) == 3
    for number in printed:
        for text in plain.values():
            assert number in text
    for text in plain.values():
        assert "RedPajama" in text  # the departures
        assert "39.94" in text  # the misprinted average


def test_only_a_lead_is_bold(project: Project, rendered: Path) -> None:
    facts = accuracy_facts(project, "table3", rendered / "runs", scored_text(rendered / "runs"))
    column = [*TASKS, "average"].index("piqa")

    def bold(facts: AccuracyFacts) -> list[int]:
        block = score_grid(facts, [{} for _ in facts.rows]).blocks[1]
        return [index for row in block.rows for index, cell in enumerate(row.cells) if cell.best]

    def alike(row: ScoredRow) -> ScoredRow:
        """The row with answers to piqa that are those of every other one."""
        half = np.arange(100) < 50
        results = [replace(r, correct={**r.correct, "piqa": half}) for r in row.results]
        return replace(row, results=tuple(results))

    assert column in bold(facts)
    tied = replace(facts, rows=[alike(row) for row in facts.rows])
    assert bold(tied)
    assert column not in bold(tied)
    alone = [row for row in facts.rows if row.spec.target != "depth-75" or row.label == "Cut"]
    assert not bold(replace(facts, rows=alone))


def test_the_same_outcomes_give_the_same_files(
    project: Project, rendered: Path, tmp_path: Path
) -> None:
    write_scored(project, "table3", rendered / "runs", tmp_path)
    for suffix in ("csv", "md", "tex", "html", "png"):
        again = (tmp_path / f"table3.{suffix}").read_bytes()
        assert again == (rendered / "tables" / f"table3.{suffix}").read_bytes(), suffix


def test_a_preset_with_fewer_tasks_compares_means_over_these(
    smoke: Project, tmp_path: Path
) -> None:
    runs = write_runs(smoke, "table3", tmp_path / "runs", documents=8)
    write_scored(smoke, "table3", runs, tmp_path / "tables")
    lines = pd.read_csv(tmp_path / "tables" / "table3.csv")
    tasks = smoke.table("table3").tasks
    assert set(lines["task"]) == {*tasks, "average", "heldout", "learning", "pruning"}
    expected = published_row("table3", "Cut", 24).mean_over(tasks)
    assert cell(lines, "cut-75", "average")["published"] == pytest.approx(expected, abs=1e-4)
    assert "has other tasks than the paper" in (tmp_path / "tables" / "table3.md").read_text()


def test_pruning_that_did_not_settle_is_said_in_the_table(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    unsettled = {**SETTLED["layer"], "sparsity": 0.41, "smallest_kept_gate": 0.32}
    steps = project.run("shear-50").steps
    write_metrics(runs / "shear-50", steps, gates={"layer": unsettled}, export=EXPORT)
    write_scored(project, "table3", runs, tmp_path / "tables")
    lines = pd.read_csv(tmp_path / "tables" / "table3.csv").query("task == 'pruning'")
    found = {(one.run, one.metric): (one.value, one.verdict) for one in lines.itertuples()}
    assert found["shear-75", "sparsity"] == (0.25, "converged")
    assert found["shear-50", "sparsity"] == (0.41, "not converged")
    assert found["shear-50", "smallest_kept"] == (0.32, "not converged")
    text = (tmp_path / "tables" / "table3.md").read_text()
    assert text.count("Shear *(not converged)*") == 1
    [gates] = [line for line in text.splitlines() if "shear-50 |" in line]
    assert "41.00 % | 25.00 % | 0.320 | 0.010 | open | not converged" in gates


def test_a_pruned_run_without_its_gates_is_refused(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    write_metrics(runs / "shear-50", project.run("shear-50").steps)
    with pytest.raises(BadInput, match=r"shear-50/manifest\.json: says nothing of its gates"):
        write_scored(project, "table3", runs, tmp_path / "tables")


def test_a_run_that_is_not_evaluated_stops_the_table(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    (runs / "cut-50" / "outcomes" / "manifest.json").unlink()
    with pytest.raises(BadInput, match="cut-50"):
        write_scored(project, "table3", runs, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_a_table_of_widths_says_so(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "table4", tmp_path / "runs", documents=20)
    write_scored(project, "table4", runs, tmp_path)
    heading = (
        "Hidden size 384 of 576, FFN 1024 of 1536, 6 of 9 heads, 30 of 30 layers (paper: hidden "
        "size 2560 of 4096, FFN 6912 of 11008, 20 of 32 heads, 32 of 32 layers)"
    )
    for suffix in ("md", "tex", "html"):
        text = (tmp_path / f"table4.{suffix}").read_text()
        assert "Table 4. Dimension operator" in text
        assert heading in text
        assert "Receptive fields" in text and "head size of this one, 64" in text
        assert "Cut (the row w/o LEMON)" in text
    lines = pd.read_csv(tmp_path / "table4.csv")
    assert cell(lines, "lemon-width-2-2", "average")["verdict"] in (SAME_ORDER, TIED)
    assert pd.isna(cell(lines, "cut-width", "average")["verdict"])
    assert cell(lines, "lemon-width-2-2", "average")["published"] == 57.2


def test_a_table_that_the_paper_has_not(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "small", tmp_path / "runs", documents=20)
    write_scored(project, "small", runs, tmp_path)
    lines = pd.read_csv(tmp_path / "small.csv")
    assert lines[["published", "delta"]].isna().all().all()
    texts = {s: (tmp_path / f"small.{s}").read_text() for s in ("md", "tex", "html")}
    assert texts["md"].startswith("# Width and depth, two stages in either order\n")
    for text in texts.values():
        assert "Table small" not in text and "Against Cut" not in text
        assert "ours, not in the paper" not in text
        assert "The paper prints no such table." in text
        of_the_paper = text.partition("Orderings of the paper")[2]
        assert "C28" in of_the_paper.partition("Orderings of ours")[0]
    columns = re.search(r"\\begin\{longtable\}\{l\*\{(\d+)\}\{r\}\}", texts["tex"])
    assert columns and int(columns[1]) == len(TASKS) + 4
    widths = {
        line.count("|")
        for block in texts["md"].split("\n\n")
        if block.startswith("| | SciQ")
        for line in block.splitlines()
    }
    assert widths == {len(TASKS) + 6}
