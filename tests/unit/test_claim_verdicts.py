"""One verdict from all tests of a claim, and the reasons that stand beside it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claimed_tables import BITS, CALIBRATED, LOSS, comparison, judged, measured, write_table

from lemon.configuration.project import Project
from lemon.files.manifest import write_manifest
from lemon.reporting.claims.ledger import Judgement, told_apart, verdict_of
from lemon.reporting.claims.parts import DEPENDS, Part
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    NOT_TESTED,
    UNRESOLVED,
)
from lemon.reporting.tables.ledger import reason_of


def part(found: str, compared: str = "a over b", **given: Any) -> Part:
    return Part("table3", found, "sign-flip test", measure=BITS, compared=compared, **given)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([HOLDS, HOLDS], "holds"),
        ([HOLDS, BELOW_FLOOR, NOT_TESTED], "holds"),
        ([FAILS, FAILS], "does not hold"),
        ([FAILS, UNRESOLVED], "does not hold"),
        ([HOLDS, FAILS, UNRESOLVED], "depends"),
        ([HOLDS, UNRESOLVED], "undecided"),
        ([UNRESOLVED, BELOW_FLOOR], "undecided"),
        ([BELOW_FLOOR, NOT_TESTED], "below the floor"),
        ([NOT_TESTED], "not tested"),
        ([], "not tested"),
    ],
)
def test_the_verdict_that_follows_from_the_parts(found: list[str], expected: str) -> None:
    parts = [part(one) for one in found]
    assert verdict_of(parts) == verdict_of(parts[::-1]) == expected


def test_another_measure_can_contradict_and_not_decide() -> None:
    assert part(HOLDS, others={LOSS: FAILS}).verdict == DEPENDS
    assert part(FAILS, others={LOSS: HOLDS}).verdict == DEPENDS
    assert part(HOLDS, others={LOSS: HOLDS, "accuracy": UNRESOLVED}).verdict == HOLDS
    assert part(UNRESOLVED, others={LOSS: HOLDS}).verdict == UNRESOLVED
    assert part(BELOW_FLOOR, others={LOSS: HOLDS}).verdict == BELOW_FLOOR
    assert verdict_of([part(HOLDS), part(HOLDS, others={LOSS: FAILS})]) == "depends"


def test_what_a_verdict_depends_on() -> None:
    deep, shallow = part(HOLDS, layers=22), part(FAILS, layers=15)
    assert told_apart([deep, shallow]) == "the depth"
    assert told_apart([deep, part(FAILS, "c over d", layers=22)]) == "the rows compared"
    measures = part(HOLDS, layers=22, others={LOSS: FAILS})
    assert told_apart([measures]) == "the measure"
    assert told_apart([measures, deep, shallow]) == "the measure and the depth"


# C12 is tested at equal tokens as well.
UNMADE = "; controls is not made yet: `make controls` makes it"


def test_comparisons_become_one_verdict(project: Project, tmp_path: Path) -> None:
    write_table(
        tmp_path,
        "table3",
        comparison("C09", "lemon-cut-75", "cut-75", UNRESOLVED),
        comparison("C12", "lemon-prune-75", "shear-75", FAILS),
        comparison("C12", "lemon-prune-50", "shear-50", HOLDS, layers=15),
        comparison("C14", "cut-75", "average-75", HOLDS),
        comparison("C14", "cut-50", "average-50", BELOW_FLOOR, layers=15),
        comparison(None, "lemon-cut-75", "average-75", FAILS),
    )
    found = judged(project, tmp_path)
    assert (found["C09"].verdict, reason_of(found["C09"])) == (
        "undecided",
        "a single test of this size shows 0.250 bits per byte with 80 % power; one seed",
    )
    assert found["C12"].verdict == "depends"
    assert reason_of(found["C12"]) == (
        "on the depth: lemon-prune-75 over shear-75 (22 layers) does not hold, "
        f"lemon-prune-50 over shear-50 (15 layers) holds; one seed{UNMADE}"
    )
    assert (found["C14"].verdict, reason_of(found["C14"])) == (
        "holds",
        "below the floor: cut-50 over average-50 (15 layers); nothing trained",
    )
    assert found["C11"].verdict == "not tested"
    assert reason_of(found["C11"]) == "table3 lacks this test: `make table3` makes it anew"
    assert reason_of(found["C18"]) == "table4 is not made yet: `make table4` makes it"
    below = found["C14"].parts[1]
    assert (below.found, below.test, below.effect) == (BELOW_FLOOR, "", None)


def test_a_part_that_cannot_be_tested_stands_beside_the_verdict(
    project: Project, tmp_path: Path
) -> None:
    """C03 as if the longer model from scratch had the tokens of the claim."""
    table = project.table("table2")
    pairs = [pair for pair in table.comparisons if pair.claim == "C03"]
    longer, small = (pair.not_tested for pair in pairs)
    assert longer and small == "no model of this shape is trained from scratch for longer"
    untested = comparison("C03", "lemon-small-pretrained", "scratch-small", NOT_TESTED)
    write_table(
        tmp_path,
        "table2",
        comparison("C03", "lemon-width-2-2-pretrained", "scratch-width-long", HOLDS),
        {**untested, "not_tested": small},
    )
    found = judged(project, tmp_path)["C03"]
    assert (found.verdict, reason_of(found)) == ("not tested", f"{longer}; {small}")
    compared = [pair.model_copy(update={"not_tested": None}) for pair in pairs[:1]] + pairs[1:]
    told = table.model_copy(update={"comparisons": compared})
    found = judged(replace(project, tables=project.tables | {"table2": told}), tmp_path)["C03"]
    words = f"not tested: lemon-small-pretrained over scratch-small: {small}; one seed"
    assert (found.verdict, reason_of(found)) == ("holds", words)


def test_a_gain_that_may_be_scale_alone_is_said_to_be(project: Project, tmp_path: Path) -> None:
    def write(*calibrated: str) -> Judgement:
        tests = [comparison("C12", f"lemon-prune-{n}", f"shear-{n}", HOLDS) for n in (75, 50)]
        for test, verdict in zip(tests, calibrated, strict=True):
            test["measures"][CALIBRATED] = measured(verdict)
        write_table(tmp_path, "table3", *tests)
        return judged(project, tmp_path)["C12"]

    both, one = write(UNRESOLVED, UNRESOLVED), write(HOLDS, UNRESOLVED)
    assert (both.verdict, one.verdict) == ("holds", "holds")
    assert reason_of(both) == f"scale alone is not excluded; one seed{UNMADE}"
    place = "lemon-prune-50 over shear-50 (22 layers)"
    assert reason_of(one) == f"scale alone is not excluded: {place}; one seed{UNMADE}"
    assert reason_of(write(HOLDS, HOLDS)) == f"one seed{UNMADE}"
    assert write(FAILS, UNRESOLVED).verdict == "depends"


def test_seeds_are_counted_by_row_also_in_gains(project: Project, tmp_path: Path) -> None:
    three = ["lemon-cut-75", "lemon-cut-75-s1", "lemon-cut-75-s2"]
    gain = comparison("C13", "", "", HOLDS)
    gain |= {"first_runs": ["lemon-cut-50", "cut-50"], "second_runs": [*three, "cut-75"]}
    gain |= {"gains": [["lemon-cut-50", "cut-50"], ["lemon-cut-75", "cut-75"]]}
    write_table(tmp_path, "depths", gain)
    several = comparison("C09", "", "", HOLDS, first_runs=three, second_runs=["cut-75"])
    write_table(tmp_path, "table3", several)
    found = judged(project, tmp_path)
    assert [one.seeds for one in found["C13"].parts] == [1]
    assert found["C13"].parts[0].compared == "cut-50 to lemon-cut-50 over cut-75 to lemon-cut-75"
    assert [one.seeds for one in found["C09"].parts] == [3]
    assert reason_of(found["C09"]) == ""


def test_seeds_that_disagree_leave_a_claim_undecided(project: Project, tmp_path: Path) -> None:
    def found(verdict: str, right: int, margin: float | None = None) -> Judgement:
        one = comparison("C09", "lemon-cut-75", "cut-75", verdict)
        for test in one["measures"].values():
            test |= {"right": right, "pairs": 3, "margin": margin}
        write_table(tmp_path, "table3", one)
        return judged(project, tmp_path)["C09"]

    for verdict in (HOLDS, FAILS):
        assert found(verdict, 2).verdict == "undecided"
        place = "lemon-cut-75 over cut-75 (22 layers)"
        assert (
            reason_of(found(verdict, 1)) == f"seeds disagree on {place}: better in 1 of 3; one seed"
        )
    assert [found(HOLDS, 3).verdict, found(FAILS, 0).verdict] == ["holds", "does not hold"]
    assert found(HOLDS, 2, margin=0.1).verdict == "holds"  # of equal rows, some are better


def test_a_figure_gives_its_finding(project: Project, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    for name, verdict in (("figure5", HOLDS), ("figure10", FAILS)):
        finding = {"claim": "C25", "statement": "a", "measured": name, "verdict": verdict}
        path = figures / f"{name}.manifest.json"
        write_manifest(path, "figure", started=time.monotonic(), findings=[finding])
    found = judged(project, tmp_path)["C25"]
    assert (found.verdict, found.depends_on) == ("depends", "the table")
    assert [one.measured for one in found.parts] == ["figure5", "figure10"]


def task(difference: float, p_adjusted: float) -> dict[str, Any]:
    counts = {"only_first": None, "only_second": None}
    return {"task": "t", "difference": difference, **counts, "p_value": 0, "p_adjusted": p_adjusted}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task(5, 0.01)] * 10 + [task(-1, 0.5)], "holds"),
        ([task(5, 0.01)] * 9 + [task(4, 0.3)] * 2, "undecided"),
        ([task(5, 0.01)] * 9 + [task(-3, 0.01)] * 2, "does not hold"),
        ([task(5, 0.01)] * 2 + [task(-3, 0.01)], "holds"),
        ([task(5, 0.01), task(-3, 0.01)], "does not hold"),
        ([task(5, 0.01), task(-3, 0.5)], "undecided"),
        ([task(5, 0.01)] * 2, "holds"),
        ([task(5, 0.01)], "holds"),
        ([task(-3, 0.01)], "does not hold"),
        ([task(5, 0.5)], "undecided"),
        ([], "not tested"),
    ],
)
def test_tasks_are_won_one_by_one(
    tasks: list[dict], expected: str, project: Project, tmp_path: Path
) -> None:
    of_tasks = comparison("C01", "lemon-small-pretrained", "shear-small-pretrained", HOLDS)
    write_table(tmp_path, "table2", {**of_tasks, "tasks": tasks})
    found = judged(project, tmp_path)["C04"]
    assert found.verdict == expected
    if len(tasks) == 11 and expected == "undecided":
        words = "9 of 11 tasks won and 0 lost, resolved one by one; ahead on 11"
        assert found.parts[0].measured.startswith(words)
