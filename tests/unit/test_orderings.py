"""Orderings of rows: whole rows in pairs, one family of tests, verdicts and their counts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chained_table import chained
from fabricated_runs import write_outcomes, write_runs

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.reporting.claims.orderings import (
    OrderingTest,
    PerplexityOrder,
    TaskTest,
    ordering_tests,
)
from lemon.reporting.claims.verdict import FAILS, HOLDS, UNRESOLVED, mean_verdict
from lemon.reporting.facts.accuracy import accuracy_facts
from lemon.reporting.facts.statistics import holm, mcnemar, sign_flip_test
from lemon.reporting.tables.orderings_section import counts, ordering_sections
from lemon.reporting.tables.table import write_table
from lemon.tracking.records import table_records

CONFIG = Path(__file__).parents[2] / "config"
TASKS = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")
PRUNE, CUT, RANDOM, SHEAR = range(4)  # the comparisons of the chained table, by their first row


@pytest.fixture(scope="module")
def project() -> Project:
    return chained(load_project("laptop", CONFIG))


@pytest.fixture(scope="module")
def rendered(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orderings")
    write_runs(project, "table3", folder / "runs", documents=40)
    write_table(project, "table3", folder / "runs", folder / "tables")
    return folder


@pytest.fixture(scope="module")
def orders(project: Project, rendered: Path) -> list[OrderingTest]:
    return compared(project, rendered / "runs")


def compared(project: Project, runs: Path) -> list[OrderingTest]:
    return ordering_tests(accuracy_facts(project, "table3", runs))


def answers(runs: Path, row: str, seeds: int) -> dict[str, np.ndarray]:
    """By task, each document's score averaged over the seeds of a row."""
    names = [f"{row}-s{seed}" for seed in range(seeds)] if seeds > 1 else [row]
    read = {name: {t: runs / name / "outcomes" / f"{t}.parquet" for t in TASKS} for name in names}
    return {
        task: np.mean([pd.read_parquet(read[name][task])["correct"] for name in names], axis=0)
        for task in TASKS
    }


def test_a_run_stands_for_all_seeds_of_its_row(rendered: Path, orders: list[OrderingTest]) -> None:
    learned = answers(rendered / "runs", "lemon-random-75", seeds=3)
    drawn = answers(rendered / "runs", "random-75", seeds=3)
    test = orders[RANDOM]
    assert test.first_runs == [f"lemon-random-75-s{seed}" for seed in range(3)]
    assert test.second_runs == [f"random-75-s{seed}" for seed in range(3)]
    mean = np.mean([100 * (learned[task].mean() - drawn[task].mean()) for task in TASKS])
    assert test.difference == pytest.approx(mean, abs=1e-4)
    assert test.low <= test.difference <= test.high
    assert test.p_value == sign_flip_test(learned, drawn)
    for task in test.tasks:
        one, two = {task.task: learned[task.task]}, {task.task: drawn[task.task]}
        assert task.p_value == sign_flip_test(one, two)
        assert (task.only_first, task.only_second) == (None, None)


def test_single_runs_are_tested_exactly_on_each_task(
    rendered: Path, orders: list[OrderingTest]
) -> None:
    prune = answers(rendered / "runs", "lemon-prune-75", seeds=1)
    shear = answers(rendered / "runs", "shear-75", seeds=1)
    for task in orders[PRUNE].tasks:
        exact = mcnemar(prune[task.task], shear[task.task])
        assert (task.only_first, task.only_second) == (exact.only_first, exact.only_second)
        assert task.p_value == exact.p_value
    p_values = [task.p_value for task in orders[PRUNE].tasks]
    assert [task.p_adjusted for task in orders[PRUNE].tasks] == holm(p_values)


def test_holm_is_over_all_orderings_of_the_table(orders: list[OrderingTest]) -> None:
    assert [test.p_adjusted for test in orders] == holm([test.p_value for test in orders])
    assert [test.verdict for test in orders] == [
        mean_verdict(test.difference, test.p_adjusted) for test in orders
    ]


def test_an_ordering_that_one_test_would_resolve_can_drown_in_its_family(
    project: Project, tmp_path: Path
) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=40)
    base = [True] * 20 + [False] * 20
    ahead = [True] * 22 + [False] * 18  # on every task two documents more
    same = ("cut-75", *(f"random-75-s{s}" for s in range(3)), "selection-75")
    same += (*(f"lemon-random-75-s{s}" for s in range(3)), "shear-75")
    for run in same:
        write_outcomes(runs / run, {task: base for task in TASKS}, loss=5.0)
    write_outcomes(
        runs / "lemon-prune-75", {task: ahead if i else base for i, task in enumerate(TASKS)}, 5.0
    )
    alone = project.table("table3").model_copy(
        update={"comparisons": project.table("table3").comparisons[:1]}
    )
    (single,) = compared(replace(project, tables={"table3": alone}), runs)
    (first, *_) = compared(project, runs)
    # eight documents, all the same way: 2 / 256 alone, four times that among four orderings
    assert single.p_value == first.p_value == pytest.approx(2 / 256, abs=0.004)
    assert (single.verdict, single.p_adjusted) == (HOLDS, single.p_value)
    assert first.p_adjusted == pytest.approx(4 * first.p_value)
    assert first.low > 0


def test_verdicts_on_the_mean() -> None:
    assert mean_verdict(0.1, 0.049) == HOLDS
    assert mean_verdict(-0.1, 0.049) == FAILS
    assert mean_verdict(0.1, 0.05) == UNRESOLVED


def test_perplexity_is_compared_by_mean_loss_and_seed_by_seed(
    project: Project, tmp_path: Path
) -> None:
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    right = {task: [True, False, True, False] for task in TASKS}

    def losses(**given: float) -> None:
        for run, loss in given.items():
            write_outcomes(runs / run.replace("_", "-"), right, loss)

    losses(cut_75=5.0, random_75_s0=4.0, random_75_s1=6.0, random_75_s2=9.0)
    losses(lemon_random_75_s0=4.5, lemon_random_75_s1=5.0, lemon_random_75_s2=8.0)
    losses(shear_75=3.0, selection_75=2.0)
    found = compared(project, runs)
    cut, learned, shear = (found[index].perplexity for index in (CUT, RANDOM, SHEAR))
    assert cut == PerplexityOrder(5.0, pytest.approx(19 / 3), right=2, pairs=3, verdict=HOLDS)
    # the same seeds: 4.5 against 4, 5 against 6, 8 against 9
    assert learned == PerplexityOrder(pytest.approx(17.5 / 3), pytest.approx(19 / 3), 2, 3, HOLDS)
    assert shear == PerplexityOrder(3.0, 2.0, right=0, pairs=1, verdict=FAILS)
    lines, ours = (group.rows for group in ordering_sections(found, [*TASKS])[0].groups)
    assert (lines[1][8].text, lines[1][8].aside) == ("148 against 563", "(2 of 3 seeds)")
    assert (ours[1][8].text, ours[1][8].aside) == ("20.1 against 7.39", "")


def ordering(**given: object) -> OrderingTest:
    """An ordering of the paper, unresolved on the mean, that holds in perplexity."""
    usual: dict = {
        **{"claim": "C09", "statement": "LEMON-Cut beats Cut", "first": "LEMON-Cut"},
        **{"second": "Cut", "first_runs": ["lemon-cut-75"], "second_runs": ["cut-75"]},
        **{"layers": 22, "published_layers": 24, "difference": 0.4, "low": -3.8, "high": 4.8},
        **{"published_difference": 4.8, "p_value": 0.86, "p_adjusted": 1.0},
        **{"verdict": UNRESOLVED, "perplexity": PerplexityOrder(7.4, 19.1, 1, 1, HOLDS)},
        "tasks": [TaskTest("sciq", -8.0, 7, 15, 0.134, 0.669)],
    }
    return OrderingTest(**{**usual, **given})


def test_counts_say_how_many_orderings_came_out_how() -> None:
    perplexity_fails = PerplexityOrder(9.0, 8.0, 1, 1, FAILS)
    found = [
        ordering(verdict=HOLDS),
        ordering(verdict=HOLDS, perplexity=perplexity_fails),
        ordering(verdict=FAILS, perplexity=None),
        ordering(),
        ordering(published_difference=-0.3),
        ordering(published_difference=None, claim=None),
    ]
    assert counts(found) == [
        "Of 4 published orderings tested: on the task mean 2 hold, 1 does not, 1 is not resolved; "
        "in held-out perplexity 2 hold, 1 does not.",
        "Of 1 ordering of ours tested: on the task mean 0 hold, 0 do not, 1 is not resolved; "
        "in held-out perplexity 1 holds, 0 do not.",
        "1 more ordering is not so in the paper on these tasks and not counted as published.",
    ]
    assert counts([]) == ordering_sections([], []) == []


def test_lines_say_whose_ordering_it_is_and_which_way_the_paper_has_it() -> None:
    found = [
        ordering(),
        ordering(claim=None, published_difference=-0.3),
        ordering(claim=None, published_difference=None, p_value=0.0001, perplexity=None),
    ]
    published, ours = ordering_sections(found, ["SciQ"])[0].groups
    first, second = published.rows
    assert (first[0].text, first[3].text) == ("C09", "+4.8")
    assert (second[0].text, second[3].text) == ("–", "−0.3 (opposite order)")
    [line] = ours.rows
    assert [line[n].text for n in (0, 3, 5)] == ["ours", "", "< 0.001"]
    assert [line[n].text for n in (8, 9)] == ["", ""]


def test_the_published_difference_is_over_the_tasks_that_are_shown(
    project: Project, rendered: Path, orders: list[OrderingTest]
) -> None:
    assert orders[PRUNE].published_difference == pytest.approx(0.7)  # 60.4 - 59.7, as printed
    assert orders[RANDOM].published_difference is None
    fewer = project.table("table3").model_copy(update={"tasks": ("winogrande", "arc_easy")})
    short = replace(project, tables={"table3": fewer})
    test = compared(short, rendered / "runs")[PRUNE]
    assert test.published_difference == pytest.approx((56.0 + 60.9) / 2 - (55.0 + 62.9) / 2)
    assert not test.is_published


def test_every_rendering_has_the_orderings(rendered: Path, orders: list[OrderingTest]) -> None:
    on_the_mean, by_task = ordering_sections(orders, [*TASKS])
    texts = {
        "md": (rendered / "tables" / "table3.md").read_text(),
        "html": re.sub("<[^>]+>", "", (rendered / "tables" / "table3.html").read_text()),
    }
    texts["tex"] = (rendered / "tables" / "table3.tex").read_text().replace("$-$", "−")
    for suffix, text in texts.items():
        assert "Orderings, tested in pairs" in text
        assert "Of 2 published orderings tested" in text
        assert "all 4 orderings of this table, taken as one family" in text
        assert "it stands for its line alone" in text
        between = {"md": ">", "html": "&gt;", "tex": "$>$"}[suffix]
        for line in (line for group in on_the_mean.groups for line in group.rows):
            assert line[2].text.replace(">", between) in text
            assert line[4].text in text and line[4].aside in text
        for line in (line for group in by_task.groups for line in group.rows):
            for cell in line[2:]:
                assert cell.aside.replace("<", {"html": "&lt;"}.get(suffix, "<")) in (
                    text.replace("$<$", "<")
                )
    html = (rendered / "tables" / "table3.html").read_text()
    assert html.index("<details>") < html.index("Task by task") < html.index("</details>")


def test_the_manifest_holds_the_tests_and_a_tracker_their_verdicts(
    project: Project, rendered: Path, orders: list[OrderingTest]
) -> None:
    manifest = json.loads((rendered / "tables" / "table3.manifest.json").read_text())
    for line, test in zip(manifest["comparisons"], orders, strict=True):
        assert (line["p_adjusted"], line["verdict"]) == (test.p_adjusted, test.verdict)
        assert line["perplexity"]["verdict"] == test.perplexity.verdict
    write_table(project, "table3", rendered / "runs", rendered / "results" / "tables")
    summary, *_ = table_records(project, "table3", rendered / "runs", rendered / "results")
    tags = {name: text for name, text in summary.tags.items() if " over " in name}
    assert list(tags) == [
        "C12/lemon-prune-75 over shear-75",
        "paper/cut-75 over random-75-s0",
        "ours/lemon-random-75-s0 over random-75-s0",
        "ours/shear-75 over selection-75",
    ]
    verdicts = f"{orders[SHEAR].verdict} on the mean, {orders[SHEAR].perplexity.verdict}"
    assert tags["ours/shear-75 over selection-75"] == f"{verdicts} in perplexity"
