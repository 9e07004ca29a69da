"""When an ordering of rows holds, and when it is not tested."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from chained_table import PRUNE, SHEAR, TASKS, compared, comparing
from fabricated_runs import write_outcomes, write_runs

from lemon.configuration.paper import Comparison, Margins, Pair
from lemon.configuration.project import Project
from lemon.radii import Radii
from lemon.reporting.claims.measures import MEASURES, measure_verdict
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    NOT_TESTED,
    UNRESOLVED,
    ordering_in_words,
)
from lemon.reporting.facts.statistics import sign_flip_test
from lemon.reporting.tables.orderings_section import ordering_sections


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


def test_models_that_do_not_beat_token_frequencies_get_no_verdict(
    chained_project: Project, tmp_path: Path
) -> None:
    """The floor is 7.4 nats and the best temperature takes 0.25 off: 7.6 is below it, 7.7 not."""
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=20)
    right = {task: [True] * 20 for task in TASKS}
    for first, below in ((7.7, True), (7.65, True), (7.6, False)):
        write_outcomes(runs / "shear-75", right, first)
        write_outcomes(runs / "selection-75", {t: [False] * 20 for t in TASKS}, 12.0)
        test = compared(chained_project, runs)[SHEAR]
        verdicts = {one.verdict for one in test.measures.values()}
        assert test.below_floor is below
        assert (verdicts == {BELOW_FLOOR}) is below
        assert test.measures["accuracy"].difference == 100.0
        p_values = {one.p_value is None for one in test.measures.values()}
        assert p_values == {below}


def test_models_that_a_claim_is_not_about_are_shown_without_a_verdict(
    chained_project: Project, chained_runs: Path
) -> None:
    first, *others = chained_project.table("table3").comparisons
    reason = "these are starts and no ends"
    pairs = (first.model_copy(update={"not_tested": reason}), *others)
    found = compared(comparing(chained_project, *pairs), chained_runs)
    bits = found[PRUNE].measures["answer_bits_per_byte"]
    assert (bits.verdict, bits.p_adjusted) == (NOT_TESTED, None)
    assert bits.low <= bits.difference <= bits.high
    words = ordering_in_words(json.loads(json.dumps(asdict(found[PRUNE]))))
    assert words == f"not tested at this preset: {reason}"
    section = ordering_sections(found, [*TASKS])[0]
    assert any(reason in point for point in section.points)
    assert "1 is not tested" in section.note


def test_rows_that_differ_in_name_alone_are_not_tested(
    chained_project: Project, chained_runs: Path
) -> None:
    """As where a preset says two named radii in the same numbers."""
    pair = Comparison(first="cut-75", second="selection-75")
    both = comparing(chained_project, pair, chained_project.table("table3").comparisons[3])

    def reasons(**other: object) -> list[str | None]:
        twin = replace(
            chained_project.run("cut-75"), row=chained_project.run("selection-75").row, **other
        )
        twin = replace(twin, row=twin.row.model_copy(update={"start": None}))
        runs = {**chained_project.runs, "selection-75": twin}
        return [test.not_tested for test in compared(replace(both, runs=runs), chained_runs)]

    assert reasons() == ["both rows are the same run at this preset", None]
    assert reasons(steps=1) == reasons(radii=Radii(2, 2, 2)) == [None, None]


def test_a_gain_that_is_scale_alone_is_none_in_calibrated_loss(
    chained_project: Project, tmp_path: Path
) -> None:
    """Shear is 2 nats ahead as it is, and 0.5 behind where each has its best temperature."""
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=4)
    right = {task: [True, False, True, False] for task in TASKS}
    write_outcomes(runs / "shear-75", right, 3.0, calibration=0.0)
    write_outcomes(runs / "selection-75", right, 5.0, calibration=2.5)
    measures = compared(chained_project, runs)[SHEAR].measures
    assert (measures["loss"].difference, measures["loss"].verdict) == (-2.0, HOLDS)
    calibrated = measures["calibrated_loss"]
    assert (calibrated.first, calibrated.second, calibrated.verdict) == (3.0, 2.5, FAILS)


def test_equally_good_within_a_margin(chained_project: Project, tmp_path: Path) -> None:
    """Both answer alike: within any margin on accuracy; 1 nat apart, beyond a margin of 0.05."""
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=40)
    same = {task: [True] * 20 + [False] * 20 for task in TASKS}
    write_outcomes(runs / "shear-75", same, 3.0)
    write_outcomes(runs / "selection-75", same, 2.0)
    margin = Margins(accuracy=2.0, answer_bits_per_byte=0.02, answer_share=1.0, loss=0.05)
    pair = Comparison(first="shear-75", second="selection-75", relation="equivalent", margin=margin)
    [test] = compared(comparing(chained_project, pair), runs)
    accuracy, bits, share, loss, _ = (test.measures[measure.name] for measure in MEASURES)
    assert [one.verdict for one in (accuracy, bits, share, loss)] == [HOLDS, HOLDS, HOLDS, FAILS]
    assert (accuracy.difference, accuracy.detectable, accuracy.margin) == (0.0, 0.0, 2.0)
    # one-sided, 1 of the 256 patterns of signs of eight documents
    assert loss.p_value == pytest.approx(1 / 256, abs=0.003)
    section = ordering_sections([test], [*TASKS])[0]
    assert section.groups[0].rows[0][2].text == "Shear = Shear (selection, source weights)"
    assert any(
        "accuracy 2, answer bits per byte 0.02, answer share 1, held-out loss 0.05" in p
        for p in section.points
    )


def test_a_pair_beats_another_by_more(chained_project: Project, tmp_path: Path) -> None:
    """75 against 25 % is 50 points, 50 against 25 % is 25; in loss both pairs are 2 nats apart."""
    runs = write_runs(chained_project, "table3", tmp_path / "runs", documents=40)
    share = {"lemon-prune-75": 30, "shear-75": 10, "selection-75": 20, "cut-75": 10}
    loss = {"lemon-prune-75": 2.0, "shear-75": 4.0, "selection-75": 3.0, "cut-75": 5.0}
    for run, right in share.items():
        own = {task: [True] * right + [False] * (40 - right) for task in TASKS}
        write_outcomes(runs / run, own, loss[run])
    than = Pair(first="selection-75", second="cut-75")
    pair = Comparison(claim="C13", first="lemon-prune-75", second="shear-75", than=than)
    [test] = compared(comparing(chained_project, pair), runs)
    accuracy, bits, _, loss_test, _ = (test.measures[measure.name] for measure in MEASURES)
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
