"""The claims ledger: a line for each claim, its files and its command."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from claimed_tables import CALIBRATED, comparison, judged, write_table
from fabricated_runs import write_runs, write_scored

from lemon import cli
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.published.tables import published_claims
from lemon.reporting.claims.derived import DERIVED, UNTESTED
from lemon.reporting.claims.ledger import judgements
from lemon.reporting.claims.verdict import (
    HOLDS,
    MEASURES_IN_WORDS,
)
from lemon.reporting.facts.evidence import evidence
from lemon.reporting.report import gathered_ledger, write_ledger
from lemon.reporting.tables.ledger import reason_of

ROOT = Path(__file__).parents[2]


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


def test_a_claim_about_one_source_is_judged_in_its_table(project: Project, tmp_path: Path) -> None:
    write_table(tmp_path, "table3")
    bearing = [e.name for e in evidence(project, tmp_path).entries if "C15" in e.claims]
    assert bearing == ["table3"]


def test_methods_that_read_training_text_depend_on_the_seed(
    project: Project, tmp_path: Path
) -> None:
    drawn = evidence(project, tmp_path).drawn
    assert {"come-75", "ff-merge-75", "random-75-s0", "lemon-cut-75"} <= drawn
    assert not {"cut-75", "average-75", "window-drop-75"} & drawn


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
