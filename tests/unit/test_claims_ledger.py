"""The claims ledger: one verdict from all tests of a claim, and what stands beside it."""

from __future__ import annotations

import csv
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricated_runs import write_runs, write_scored

from lemon import cli
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import FORMAT_VERSION, write_manifest
from lemon.published.tables import published_claims
from lemon.reporting.claims.derived import DERIVED, UNTESTED, concordance_chances
from lemon.reporting.claims.ledger import Judgement, judgements, told_apart, verdict_of
from lemon.reporting.claims.parts import DEPENDS, Part
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    MEASURES_IN_WORDS,
    NOT_TESTED,
    UNRESOLVED,
)
from lemon.reporting.facts.evidence import evidence
from lemon.reporting.report import gathered_ledger, write_ledger
from lemon.reporting.tables.ledger import reason_of

ROOT = Path(__file__).parents[2]
BITS, LOSS, CALIBRATED = "answer_bits_per_byte", "loss", "calibrated_loss"


@pytest.fixture(scope="module")
def project(laptop_of_one_seed: Project) -> Project:
    return laptop_of_one_seed


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


def test_concordance_by_hand() -> None:
    # The six orders of three have 3, 1, 1, -1, -1, -3.
    three = concordance_chances([3])
    assert three == pytest.approx({3: 1 / 6, 1: 2 / 6, -1: 2 / 6, -3: 1 / 6})
    two_groups = concordance_chances([3, 2])  # and the two of two have 1 and -1
    assert two_groups == pytest.approx({4: 1 / 12, 2: 3 / 12, 0: 4 / 12, -2: 3 / 12, -4: 1 / 12})


def measured(verdict: str, first: float = 2.0, second: float = 3.0, **given: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"measure": "", "first": first, "second": second}
    usual |= {"difference": first - second, "low": -1.1, "high": -0.9, "detectable": 0.25}
    usual |= {"margin": None, "right": 1, "pairs": 1, "p_value": 0.001, "p_adjusted": 0.002}
    return {**usual, "verdict": verdict, **given}


def comparison(claim: str | None, first: str, second: str, found: str, **given: Any) -> dict:
    """As a table's manifest has it: on bits per byte and losses alike, unresolved on accuracy."""
    usual: dict[str, Any] = {
        **{"claim": claim, "statement": None, "first": "First", "second": "Second"},
        **{"first_runs": [first], "second_runs": [second], "layers": 22, "gains": []},
        **{"published_layers": None, "published_difference": None, "equivalent": False},
        **{"not_tested": None, "below_floor": found == BELOW_FLOOR, "tasks": []},
        "measures": {
            "accuracy": measured(BELOW_FLOOR if found == BELOW_FLOOR else UNRESOLVED),
            **{name: measured(found) for name in (BITS, LOSS, CALIBRATED)},
        },
    }
    return {**usual, **given}


def write_table(
    results: Path, name: str, *comparisons: dict, version: int = FORMAT_VERSION
) -> Path:
    path = results / "tables" / f"{name}.manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tested = list(comparisons)
    write_manifest(
        path, "table", started=time.monotonic(), comparisons=tested, format_version=version
    )
    return path


def judged(project: Project, results: Path) -> dict[str, Judgement]:
    return {one.claim: one for one in judgements(evidence(project, results))}


def test_every_claim_has_one_line_and_a_way_to_a_verdict(project: Project, tmp_path: Path) -> None:
    claims = published_claims()
    read = evidence(project, tmp_path)
    bearing = {claim for entry in read.entries for claim in entry.claims}
    assert bearing | DERIVED.keys() | UNTESTED.keys() == claims.keys()
    assert not UNTESTED.keys() & (bearing | DERIVED.keys())
    assert [one.claim for one in judgements(read)] == list(claims)
    assert {one["measure"] for one in claims.values()} <= {"", *MEASURES_IN_WORDS}
    assert {one["paper"] for one in claims.values()} == {"LEMON", "FF-merge", "CoMe"}
    assert all(claims[name]["measure"] for name in DERIVED)


def test_the_unit_tests_that_a_reason_names_are_there() -> None:
    file, tests = (
        re.findall(rf"{pattern}\w*", UNTESTED["C29"])
        for pattern in ("tests/unit/test_", r"\btest_")
    )
    text = (ROOT / f"{file[0]}.py").read_text()
    named = [name for name in tests if name not in file[0]]
    assert len(named) == 2
    assert all(f"def {name}(" in text for name in named)


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


def test_a_claim_about_one_source_is_judged_in_its_table(project: Project, tmp_path: Path) -> None:
    write_table(tmp_path, "table3")
    bearing = [e.name for e in evidence(project, tmp_path).entries if "C15" in e.claims]
    assert bearing == ["table3"]


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


def test_methods_that_read_training_text_depend_on_the_seed(
    project: Project, tmp_path: Path
) -> None:
    drawn = evidence(project, tmp_path).drawn
    assert {"come-75", "ff-merge-75", "random-75-s0", "lemon-cut-75"} <= drawn
    assert not {"cut-75", "average-75", "window-drop-75"} & drawn


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


def test_tables_of_earlier_versions_are_not_read(project: Project, tmp_path: Path) -> None:
    write_table(tmp_path, "table3", comparison("C09", "lemon-cut-75", "cut-75", HOLDS), version=1)
    old = comparison("C18", "lemon-width-2-2", "shear-width", HOLDS)
    del old["measures"]
    write_table(tmp_path, "table4", old)
    uncalibrated = comparison("C28", "lemon-small-width-first", "lemon-small-depth-first", HOLDS)
    del uncalibrated["measures"][CALIBRATED]
    write_table(tmp_path, "small", uncalibrated)
    found = judged(project, tmp_path)
    for claim, table in (("C09", "table3"), ("C18", "table4"), ("C28", "small")):
        assert found[claim].verdict == "not tested"
        assert reason_of(found[claim]) == (
            f"{table} is of an earlier version: `make {table}` makes it anew"
        )


def test_reasons_of_the_configuration_need_no_table(project: Project, tmp_path: Path) -> None:
    found = judged(project, tmp_path)
    for claim in ("C05", "C27", "C29", "F04"):
        assert found[claim].verdict == "not tested"
        assert found[claim].reasons and not found[claim].waiting
    assert found["C27"].reasons[0].startswith("no second size")


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


def ranked(*pairs: tuple[str, str, float, float]) -> list[dict]:
    """Comparisons of results with their starts, whose bits per byte are given; less is better."""
    found = []
    for first, second, result, start in pairs:
        one = comparison(None, first, second, HOLDS)
        own = measured(HOLDS, first=result, second=start)
        found.append({**one, "measures": {BITS: own, LOSS: own, CALIBRATED: own}})
    return found


OPERATORS = {"lemon-cut": "cut", "lemon-average": "average", "lemon-random": "random"}
PRUNED = {"lemon-prune": "shear-selection", "lemon-come": "come", "lemon-sleb": "sleb"}
SAME, SWAPPED = (1.0, 2.0, 3.0), (2.0, 1.0, 3.0)
WAITING = ["controls", "methods-trained", "table4"]  # with starts made, the others that rank some


def of_depth(
    depth: int, starts: dict[str, str], results: tuple[float, ...]
) -> list[tuple[str, str, float, float]]:
    """Three starts of a depth and of equal rates, the first the best, and what becomes of them."""
    seed = {"random": "-s0"}
    return [
        (f"{fused}-{depth}", f"{start}-{depth}{seed.get(start, '')}", result, float(rank))
        for rank, ((fused, start), result) in enumerate(zip(starts.items(), results, strict=True))
    ]


def test_starts_are_ranked_against_their_results(project: Project, tmp_path: Path) -> None:
    groups = [(depth, kind) for depth in (75, 50) for kind in (OPERATORS, PRUNED)]

    def write(*results: tuple[float, ...]) -> Judgement:
        pairs = [of_depth(*group, order) for group, order in zip(groups, results, strict=False)]
        write_table(tmp_path, "starts", *ranked(*(one for group in pairs for one in group)))
        return judged(project, tmp_path)["C16"]

    found = write(SAME, SAME, SAME, SWAPPED)
    # 11 of 12 pairs agree: of 1296 orders one is better, eight are as good, as many are opposite.
    assert found.verdict == "holds"
    words = found.parts[0].measured
    assert f"tau {10 / 12:+.2f} over 12 pairs of starts of equal sizes (groups: 4;" in words
    assert words.endswith(f" p = {2 * 9 / 1296:.3f}); rates operators, operators-pruned")
    assert found.parts[0].seeds == 1
    found = write(SAME)
    assert found.verdict == "undecided"  # 2 of 6 orders are as extreme
    assert found.parts[0].measured.endswith(" p = 0.333), could show nothing")
    assert [one.name for one in found.waiting] == WAITING
    assert write(*[SAME[::-1]] * 4).verdict == "does not hold"


def test_starts_are_grouped_by_the_shape_of_their_model_and_by_rates(
    project: Project, tmp_path: Path
) -> None:
    starts = evidence(project, tmp_path).starts
    come, tied = starts["lemon-come-75"], starts["lemon-ff-merge-75"]
    assert come.rates == tied.rates and come.group != tied.group
    assert come.group == starts["lemon-prune-75"].group
    assert come.group != starts["lemon-cut-75"].group


def test_two_starts_of_a_size_are_not_ranked(project: Project, tmp_path: Path) -> None:
    write_table(tmp_path, "starts", *ranked(*of_depth(75, OPERATORS, SAME)[:2]))
    found = judged(project, tmp_path)["C16"]
    assert (found.verdict, [one.name for one in found.waiting]) == ("not tested", WAITING)
    assert reason_of(found).startswith(
        "no three starts of equal sizes, steps and rates are compared"
    )


def test_the_files_of_rendered_results(project: Project, tmp_path: Path) -> None:
    """From made-up outcomes to the CSV, the page and the manifest."""
    write_runs(project, "table3", tmp_path / "runs", documents=20)
    write_scored(project, "table3", tmp_path / "runs", tmp_path / "results" / "tables")
    out = tmp_path / "results" / "claims.md"
    write_ledger(project, tmp_path / "results", out)
    lines = list(csv.DictReader(out.with_suffix(".csv").open(encoding="utf-8")))
    assert [line["id"] for line in lines] == list(published_claims())
    by_id = {line["id"]: line for line in lines}
    assert by_id["C09"]["verdict"] in ("holds", "depends", "undecided")
    assert by_id["C09"]["from"] == "table3" and by_id["C09"]["unit"] == "bits per byte"
    assert by_id["C09"]["published"] == "+4.8"
    page = out.read_text(encoding="utf-8")
    assert page.startswith("# Claims, preset laptop")
    counts = re.search(r"^\| All \| (\d+) \|((?: \d+ \|)+)", page, re.M)
    assert counts and int(counts[1]) == len(lines) == sum(
        map(int, re.findall(r"\d+", counts[2])[:-1])
    )
    assert all(page.count(f"\n| {line['id']} |") == 1 for line in lines)
    manifest = gathered_ledger(project, tmp_path / "results")[0].inputs
    assert list(manifest) == ["table3.manifest.json"]
    write_ledger(project, tmp_path / "results", out)  # over its own files


def test_what_cannot_be_read_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no table or figure yet; `make all` makes them"):
        write_ledger(project, tmp_path, tmp_path / "claims.md")
    broken = comparison("C09", "lemon-cut-75", "cut-75", HOLDS, layers="many")
    path = write_table(tmp_path, "table3", broken)
    with pytest.raises(BadInput, match=r"table3\.manifest\.json: layers"):
        write_ledger(project, tmp_path, tmp_path / "claims.md")
    path.write_text(path.read_text().replace("cut-75", "cut-50"))
    with pytest.raises(BadInput, match="is damaged"):
        write_ledger(project, tmp_path, tmp_path / "claims.md")


def test_the_command_replaces_its_own_files_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path, "table3", comparison("C09", "lemon-cut-75", "cut-75", HOLDS))
    config = ["--config", str(ROOT / "config")]
    words = [*config, "claims", "--results", str(tmp_path), "--out"]
    out = tmp_path / "claims.md"
    assert cli.main([*words, str(out)]) == cli.main([*words, str(out)]) == 0
    notes = tmp_path / "notes.md"
    notes.write_text("# Mine")
    (tmp_path / "other.csv").write_text("a,b")
    for path in (notes, tmp_path / "other.md", tmp_path / "claims.html"):
        assert cli.main([*words, str(path)]) == 2
    assert notes.read_text() == "# Mine" and (tmp_path / "other.csv").read_text() == "a,b"
    capsys.readouterr()
    absent = ["claims", "--results", str(tmp_path / "absent"), "--out", str(out)]
    assert cli.main([*config, *absent]) == 2
    assert "no such folder of results" in capsys.readouterr().err
