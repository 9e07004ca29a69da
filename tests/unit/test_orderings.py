"""Orderings of rows: whole rows in pairs, one family of tests, verdicts and their counts."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chained_table import chained
from fabricated_runs import scored_text, write_outcomes, write_runs, write_scored

from lemon.configuration.load import load_project
from lemon.configuration.paper import Comparison, Margins, Pair
from lemon.configuration.project import Project
from lemon.radii import Radii
from lemon.reporting.claims.measures import MEASURES, MeasureTest, measure_verdict
from lemon.reporting.claims.orderings import OrderingTest, TaskTest, ordering_tests
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    NOT_TESTED,
    UNRESOLVED,
    ordering_in_words,
)
from lemon.reporting.facts.accuracy import accuracy_facts
from lemon.reporting.facts.statistics import holm, mcnemar, sign_flip_test
from lemon.reporting.tables.orderings_section import counts, ordering_sections, resolved
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
    write_scored(project, "table3", folder / "runs", folder / "tables")
    return folder


@pytest.fixture(scope="module")
def orders(project: Project, rendered: Path) -> list[OrderingTest]:
    return compared(project, rendered / "runs")


def compared(project: Project, runs: Path) -> list[OrderingTest]:
    return ordering_tests(accuracy_facts(project, "table3", runs, scored_text(runs)))


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
    accuracy = test.measures["accuracy"]
    assert accuracy.difference == pytest.approx(mean, abs=1e-4)
    assert accuracy.low <= accuracy.difference <= accuracy.high
    assert accuracy.p_value == sign_flip_test(learned, drawn)
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
    one, among = single.measures["accuracy"], first.measures["accuracy"]
    assert one.p_value == among.p_value == pytest.approx(2 / 256, abs=0.004)
    assert (one.verdict, one.p_adjusted) == (HOLDS, one.p_value)
    assert among.p_adjusted == pytest.approx(4 * among.p_value)
    assert among.low > 0


def test_verdicts_follow_the_direction_of_the_measure() -> None:
    accuracy, bits, *_ = MEASURES
    assert measure_verdict(accuracy, 0.1, None, 0.049) == HOLDS
    assert measure_verdict(accuracy, -0.1, None, 0.049) == FAILS
    assert measure_verdict(bits, -0.1, None, 0.049) == HOLDS
    assert measure_verdict(bits, 0.1, None, 0.049) == FAILS
    assert measure_verdict(accuracy, 0.1, None, 0.05) == UNRESOLVED
    # equally good within a margin of 0.2, whichever is ahead
    assert measure_verdict(bits, 0.1, 0.2, 0.049) == HOLDS
    assert measure_verdict(bits, -0.3, 0.2, 0.049) == FAILS
    assert measure_verdict(bits, 0.1, 0.2, 0.05) == UNRESOLVED


def test_a_loss_is_compared_over_documents_and_seed_by_seed(
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
    assert lines[1][8].text == "−1.333"
    assert lines[1][8].aside.endswith("], better in 2 of 3 pairs of seeds")
    assert ours[1][8].text == "+1.000" and "seeds" not in ours[1][8].aside


def test_models_that_do_not_beat_token_frequencies_get_no_verdict(
    project: Project, tmp_path: Path
) -> None:
    """The floor is 7.4 nats and the best temperature takes 0.25 off: 7.6 is below it, 7.7 not."""
    runs = write_runs(project, "table3", tmp_path / "runs", documents=20)
    right = {task: [True] * 20 for task in TASKS}
    for first, below in ((7.7, True), (7.65, True), (7.6, False)):
        write_outcomes(runs / "shear-75", right, first)
        write_outcomes(runs / "selection-75", {t: [False] * 20 for t in TASKS}, 12.0)
        test = compared(project, runs)[SHEAR]
        verdicts = {one.verdict for one in test.measures.values()}
        assert test.below_floor is below
        assert (verdicts == {BELOW_FLOOR}) is below
        assert test.measures["accuracy"].difference == 100.0
        p_values = {one.p_value is None for one in test.measures.values()}
        assert p_values == {below}


def test_models_that_a_claim_is_not_about_are_shown_without_a_verdict(
    project: Project, rendered: Path
) -> None:
    first, *others = project.table("table3").comparisons
    reason = "these are starts and no ends"
    pairs = (first.model_copy(update={"not_tested": reason}), *others)
    table = project.table("table3").model_copy(update={"comparisons": pairs})
    found = compared(replace(project, tables={"table3": table}), rendered / "runs")
    bits = found[PRUNE].measures["answer_bits_per_byte"]
    assert (bits.verdict, bits.p_adjusted) == (NOT_TESTED, None)
    assert bits.low <= bits.difference <= bits.high
    words = ordering_in_words(json.loads(json.dumps(asdict(found[PRUNE]))))
    assert words == f"not tested at this preset: {reason}"
    section = ordering_sections(found, [*TASKS])[0]
    assert any(reason in point for point in section.points)
    assert "1 is not tested" in section.note


def test_rows_that_differ_in_name_alone_are_not_tested(project: Project, rendered: Path) -> None:
    """As where a preset says two named radii in the same numbers."""
    table = project.table("table3")
    pair = Comparison(first="cut-75", second="selection-75")
    table = table.model_copy(update={"comparisons": (pair, table.comparisons[3])})

    def reasons(**other: object) -> list[str | None]:
        twin = replace(project.run("cut-75"), row=project.run("selection-75").row, **other)
        twin = replace(twin, row=twin.row.model_copy(update={"start": None}))
        runs = {**project.runs, "selection-75": twin}
        changed = replace(project, tables={"table3": table}, runs=runs)
        return [test.not_tested for test in compared(changed, rendered / "runs")]

    assert reasons() == ["both rows are the same run at this preset", None]
    assert reasons(steps=1) == reasons(radii=Radii(2, 2, 2)) == [None, None]


def test_a_gain_that_is_scale_alone_is_none_in_calibrated_loss(
    project: Project, tmp_path: Path
) -> None:
    """Shear is 2 nats ahead as it is, and 0.5 behind where each has its best temperature."""
    runs = write_runs(project, "table3", tmp_path / "runs", documents=4)
    right = {task: [True, False, True, False] for task in TASKS}
    write_outcomes(runs / "shear-75", right, 3.0, calibration=0.0)
    write_outcomes(runs / "selection-75", right, 5.0, calibration=2.5)
    measures = compared(project, runs)[SHEAR].measures
    assert (measures["loss"].difference, measures["loss"].verdict) == (-2.0, HOLDS)
    calibrated = measures["calibrated_loss"]
    assert (calibrated.first, calibrated.second, calibrated.verdict) == (3.0, 2.5, FAILS)


def test_equally_good_within_a_margin(project: Project, tmp_path: Path) -> None:
    """Both answer alike: within any margin on accuracy; 1 nat apart, beyond a margin of 0.05."""
    runs = write_runs(project, "table3", tmp_path / "runs", documents=40)
    same = {task: [True] * 20 + [False] * 20 for task in TASKS}
    write_outcomes(runs / "shear-75", same, 3.0)
    write_outcomes(runs / "selection-75", same, 2.0)
    margin = Margins(accuracy=2.0, answer_bits_per_byte=0.02, loss=0.05)
    pair = Comparison(first="shear-75", second="selection-75", relation="equivalent", margin=margin)
    table = project.table("table3").model_copy(update={"comparisons": (pair,)})
    [test] = compared(replace(project, tables={"table3": table}), runs)
    accuracy, bits, loss, _ = (test.measures[measure.name] for measure in MEASURES)
    assert (accuracy.verdict, bits.verdict, loss.verdict) == (HOLDS, HOLDS, FAILS)
    assert (accuracy.difference, accuracy.detectable, accuracy.margin) == (0.0, 0.0, 2.0)
    # one-sided, 1 of the 256 patterns of signs of eight documents
    assert loss.p_value == pytest.approx(1 / 256, abs=0.003)
    section = ordering_sections([test], [*TASKS])[0]
    assert section.groups[0].rows[0][2].text == "Shear = Shear (selection, source weights)"
    assert any("2 points, 0.02 bits per byte, 0.05 nats per token" in p for p in section.points)


def test_a_pair_beats_another_by_more(project: Project, tmp_path: Path) -> None:
    """75 against 25 % is 50 points, 50 against 25 % is 25; in loss both pairs are 2 nats apart."""
    runs = write_runs(project, "table3", tmp_path / "runs", documents=40)
    share = {"lemon-prune-75": 30, "shear-75": 10, "selection-75": 20, "cut-75": 10}
    loss = {"lemon-prune-75": 2.0, "shear-75": 4.0, "selection-75": 3.0, "cut-75": 5.0}
    for run, right in share.items():
        own = {task: [True] * right + [False] * (40 - right) for task in TASKS}
        write_outcomes(runs / run, own, loss[run])
    than = Pair(first="selection-75", second="cut-75")
    pair = Comparison(claim="C13", first="lemon-prune-75", second="shear-75", than=than)
    table = project.table("table3").model_copy(update={"comparisons": (pair,)})
    [test] = compared(replace(project, tables={"table3": table}), runs)
    accuracy, bits, loss_test, _ = (test.measures[measure.name] for measure in MEASURES)
    assert (accuracy.first, accuracy.second, accuracy.difference) == (50.0, 25.0, 25.0)
    # A right answer has 1 nat over 4 bytes, a wrong one 3: 2 / (4 ln 2) bits apart.
    assert bits.difference == pytest.approx(-0.25 * 0.5 / np.log(2), abs=1e-4)
    assert loss_test.difference == pytest.approx(0.0, abs=1e-4)
    assert (accuracy.verdict, bits.verdict) == (HOLDS, HOLDS)
    assert accuracy.pairs == 0
    ones = {task: np.repeat([0.0, 1.0, 0.0], [10, 20, 10]) for task in TASKS}
    twos = {task: np.repeat([0.0, 1.0, 0.0], [10, 10, 20]) for task in TASKS}
    assert accuracy.p_value == sign_flip_test(ones, twos)
    assert test.first == "LEMON-Prune over Shear at 22 layers"
    assert test.second_runs == ["selection-75", "cut-75"]
    section = ordering_sections([test], [*TASKS])[0]
    assert "better in" not in section.groups[0].rows[0][4].aside


def measured(name: str, verdict: str, **given: float) -> MeasureTest:
    p_adjusted = 1.0 if verdict == UNRESOLVED else 0.012
    usual = {"first": 35.4, "second": 35.0, "difference": 0.4, "low": -3.8, "high": 4.8}
    usual |= {"detectable": 6.1, "margin": None, "right": 1, "pairs": 1, "p_value": 0.003}
    return MeasureTest(name, **{**usual, "p_adjusted": p_adjusted, "verdict": verdict, **given})


def ordering(accuracy: str = UNRESOLVED, loss: str | None = HOLDS, **given: object) -> OrderingTest:
    """An ordering of the paper, unresolved on accuracy, that holds on held-out loss."""
    measures = {"accuracy": measured("accuracy", accuracy)}
    if loss is not None:
        measures["loss"] = measured("loss", loss)
    usual: dict = {
        **{"claim": "C09", "statement": "LEMON-Cut beats Cut", "first": "LEMON-Cut"},
        **{"second": "Cut", "first_runs": ["lemon-cut-75"], "second_runs": ["cut-75"]},
        **{"layers": 22, "published_layers": 24, "published_difference": 4.8},
        **{
            "equivalent": False,
            "gains": [],
            "not_tested": None,
            "below_floor": False,
            "measures": measures,
        },
        "tasks": [TaskTest("sciq", -8.0, 7, 15, 0.134, 0.669)],
    }
    return OrderingTest(**{**usual, **given})


def test_counts_say_how_many_orderings_came_out_how() -> None:
    found = [
        ordering(HOLDS),
        ordering(HOLDS, FAILS),
        ordering(FAILS, None),
        ordering(),
        ordering(BELOW_FLOOR, BELOW_FLOOR, below_floor=True),
        ordering(published_difference=-0.3),
        ordering(published_difference=None, claim=None),
    ]
    assert counts(found) == [
        "Of 5 published orderings: on accuracy 2 hold, 1 does not, 1 is not resolved, 1 is below "
        "the floor; on held-out loss 2 hold, 1 does not, 0 are not resolved, 1 is below the floor.",
        "Of 1 ordering of ours: on accuracy 0 hold, 0 do not, 1 is not resolved; on held-out loss "
        "1 holds, 0 do not, 0 are not resolved.",
        "1 more ordering is not so in the paper on these tasks and not counted as published.",
    ]
    assert resolved(found) == [
        "Resolved, of those that are tested: accuracy 3 of 6 (50 %), held-out loss 5 of 5 (100 %)."
    ]
    assert counts([]) == resolved([]) == ordering_sections([], []) == []


def test_lines_say_whose_ordering_it_is_and_which_way_the_paper_has_it() -> None:
    found = [
        ordering(),
        ordering(claim=None, published_difference=-0.3),
        ordering(HOLDS, None, claim=None, published_difference=None),
    ]
    published, ours = ordering_sections(found, ["SciQ"])[0].groups
    first, second = published.rows
    assert (first[0].text, first[3].text) == ("C09", "+4.8")
    assert (second[0].text, second[3].text) == ("–", "−0.3 (opposite order)")
    assert (first[5].text, first[5].aside) == ("not resolved", "(p = 1.000; could show 6.1)")
    [line] = ours.rows
    assert (line[0].text, line[3].text) == ("ours", "")
    assert (line[5].text, line[5].aside) == ("holds", "(p = 0.012)")
    assert [line[n].text for n in (6, 7, 8, 9)] == [""] * 4


def test_verdicts_in_words_say_on_which_measures() -> None:
    words = [
        ordering_in_words(asdict(test))
        for test in (ordering(), ordering(HOLDS), ordering(below_floor=True), ordering(FAILS, None))
    ]
    assert words == [
        "not resolved on accuracy; holds on held-out loss",
        "holds on accuracy and held-out loss",
        "below the floor",
        "does not hold on accuracy",
    ]


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
        assert "Of 2 published orderings:" in text
        assert "each measure is a family of its own" in text
        assert "predicts the held-out text better than token frequencies alone" in text
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
        assert line["measures"] == {name: asdict(one) for name, one in test.measures.items()}
        assert line["below_floor"] == test.below_floor
    write_scored(project, "table3", rendered / "runs", rendered / "results" / "tables")
    summary, *_ = table_records(project, "table3", rendered / "runs", rendered / "results")
    tags = {name: text for name, text in summary.tags.items() if " over " in name}
    assert list(tags) == [
        "C12/lemon-prune-75 over shear-75",
        "paper/cut-75 over random-75-s0",
        "ours/lemon-random-75-s0 over random-75-s0",
        "ours/shear-75 over selection-75",
    ]
    words = [ordering_in_words(asdict(test)) for test in orders]
    assert list(tags.values()) == words
    assert words[CUT] == BELOW_FLOOR and words[SHEAR].endswith("calibrated loss")
