"""Orderings of rows: whole rows tested in pairs, in one family of tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chained_table import CUT, PRUNE, RANDOM, SHEAR, TASKS, compared, comparing
from fabricated_runs import write_outcomes, write_runs

from lemon.configuration.project import Project
from lemon.reporting.claims.measures import MEASURES, measure_verdict
from lemon.reporting.claims.orderings import OrderingTest
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    HOLDS,
)
from lemon.reporting.facts.statistics import holm, mcnemar, sign_flip_test
from lemon.reporting.tables.orderings_section import ordering_sections


def answers(runs: Path, row: str, seeds: int) -> dict[str, np.ndarray]:
    """By task, each document's score averaged over the seeds of a row."""
    names = [f"{row}-s{seed}" for seed in range(seeds)] if seeds > 1 else [row]
    read = {name: {t: runs / name / "outcomes" / f"{t}.parquet" for t in TASKS} for name in names}
    return {
        task: np.mean([pd.read_parquet(read[name][task])["correct"] for name in names], axis=0)
        for task in TASKS
    }


def test_a_run_stands_for_all_seeds_of_its_row(
    chained_runs: Path, orders: list[OrderingTest]
) -> None:
    learned = answers(chained_runs, "lemon-random-75", seeds=3)
    drawn = answers(chained_runs, "random-75", seeds=3)
    test = orders[RANDOM]
    assert test.first_runs == [f"lemon-random-75-s{seed}" for seed in range(3)]
    assert test.second_runs == [f"random-75-s{seed}" for seed in range(3)]
    mean = np.mean([100 * (learned[task].mean() - drawn[task].mean()) for task in TASKS])
    accuracy = test.measures["accuracy"]
    assert accuracy.difference == pytest.approx(mean, abs=1e-4)
    assert accuracy.low <= accuracy.difference <= accuracy.high
    assert accuracy.p_value == sign_flip_test(learned, drawn)
    for task in test.tasks:
        one, two = {task.task: learned[task.task]}, {task.task: drawn[task.task]}
        assert task.p_value == sign_flip_test(one, two)
        assert (task.only_first, task.only_second) == (None, None)


def test_single_runs_are_tested_exactly_on_each_task(
    chained_runs: Path, orders: list[OrderingTest]
) -> None:
    prune = answers(chained_runs, "lemon-prune-75", seeds=1)
    shear = answers(chained_runs, "shear-75", seeds=1)
    for task in orders[PRUNE].tasks:
        exact = mcnemar(prune[task.task], shear[task.task])
        assert (task.only_first, task.only_second) == (exact.only_first, exact.only_second)
        assert task.p_value == exact.p_value
    p_values = [task.p_value for task in orders[PRUNE].tasks]
    assert [task.p_adjusted for task in orders[PRUNE].tasks] == holm(p_values)


def test_each_measure_is_a_family_of_the_orderings_that_are_tested(
    orders: list[OrderingTest],
) -> None:
    assert [test.below_floor for test in orders] == [False, True, False, False]
    tested = [test for test in orders if not test.below_floor]
    for measure in MEASURES:
        found = [test.measures[measure.name] for test in tested]
        assert [test.p_adjusted for test in found] == holm([test.p_value for test in found])
        assert [test.verdict for test in found] == [
            measure_verdict(measure, test.difference, None, test.p_adjusted) for test in found
        ]
        below = orders[CUT].measures[measure.name]
        assert (below.p_value, below.p_adjusted, below.verdict) == (None, None, BELOW_FLOOR)


def test_an_ordering_that_one_test_would_resolve_can_drown_in_its_family(
    chained_project: Project, tmp_path: Path
) -> None:
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=40)
    base = [True] * 20 + [False] * 20
    ahead = [True] * 22 + [False] * 18  # on every task two documents more
    same = ("cut-75", *(f"random-75-s{s}" for s in range(3)), "selection-75")
    same += (*(f"lemon-random-75-s{s}" for s in range(3)), "shear-75")
    for run in same:
        write_outcomes(runs / run, {task: base for task in TASKS}, loss=5.0)
    write_outcomes(
        runs / "lemon-prune-75", {task: ahead if i else base for i, task in enumerate(TASKS)}, 5.0
    )
    (single,) = compared(
        comparing(chained_project, chained_project.table("table3").comparisons[0]), runs
    )
    (first, *_) = compared(chained_project, runs)
    # eight documents, all the same way: 2 / 256 alone, four times that among four orderings
    one, among = single.measures["accuracy"], first.measures["accuracy"]
    assert one.p_value == among.p_value == pytest.approx(2 / 256, abs=0.004)
    assert (one.verdict, one.p_adjusted) == (HOLDS, one.p_value)
    assert among.p_adjusted == pytest.approx(4 * among.p_value)
    assert among.low > 0


def test_a_loss_is_compared_over_documents_and_seed_by_seed(
    chained_project: Project, tmp_path: Path
) -> None:
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=4)
    right = {task: [True, False, True, False] for task in TASKS}

    def losses(**given: float) -> None:
        for run, loss in given.items():
            write_outcomes(runs / run.replace("_", "-"), right, loss)

    losses(cut_75=5.0, random_75_s0=4.0, random_75_s1=6.0, random_75_s2=9.0)
    losses(lemon_random_75_s0=4.5, lemon_random_75_s1=5.0, lemon_random_75_s2=8.0)
    losses(shear_75=3.0, selection_75=2.0)
    found = compared(chained_project, runs)
    cut, learned, shear = (found[index].measures["loss"] for index in (CUT, RANDOM, SHEAR))
    assert (cut.first, cut.second) == pytest.approx((5.0, 19 / 3), abs=1e-4)
    assert cut.difference == pytest.approx(5 - 19 / 3, abs=1e-4)
    assert (cut.right, cut.pairs) == (2, 3)
    # the same seeds: 4.5 against 4, 5 against 6, 8 against 9
    assert learned.difference == pytest.approx((17.5 - 19) / 3, abs=1e-4)
    assert (learned.right, learned.pairs) == (2, 3)
    assert (shear.difference, shear.right, shear.pairs) == (1.0, 0, 1)
    assert shear.low < 1 < shear.high
    # eight documents, on each of which the selection is ahead: 2 of 256 patterns of signs
    assert shear.p_value == pytest.approx(2 / 256, abs=0.004)
    lines, ours = (group.rows for group in ordering_sections(found, [*TASKS])[0].groups)
    assert lines[1][10].text == "−1.333"
    assert lines[1][10].aside.endswith("], better in 2 of 3 pairs of seeds")
    assert ours[1][10].text == "+1.000" and "seeds" not in ours[1][10].aside


def test_the_published_difference_is_over_the_tasks_that_are_shown(
    chained_project: Project, chained_runs: Path, orders: list[OrderingTest]
) -> None:
    assert orders[PRUNE].published_difference == pytest.approx(0.7)  # 60.4 - 59.7, as printed
    assert orders[RANDOM].published_difference is None
    fewer = chained_project.table("table3").model_copy(update={"tasks": ("winogrande", "arc_easy")})
    short = replace(chained_project, tables={"table3": fewer})
    test = compared(short, chained_runs)[PRUNE]
    assert test.published_difference == pytest.approx((56.0 + 60.9) / 2 - (55.0 + 62.9) / 2)
    assert not test.is_published
