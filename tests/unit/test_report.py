"""The one page with everything: what is on it, what is not made yet, and that it needs no other."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from drawn_figures import falling_map, write_maps
from fabricated_runs import write_runs, write_scored

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.published.tables import published_claims
from lemon.reporting.figures.figure import write_figure
from lemon.reporting.report import write_report
from lemon.reporting.tables.table import write_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(project: Project, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_runs(project, "table3", folder / "runs", documents=20)
    write_scored(project, "table3", folder / "runs", folder / "results" / "tables")
    write_table(project, "table5", folder / "runs", folder / "results" / "tables")
    write_maps(project, "figure2", folder / "runs", {"source": falling_map(30)})
    write_figure(project, "figure2", folder / "runs", folder / "results" / "figures")
    write_report(project, folder / "results", folder / "report.html")
    return (folder / "report.html").read_text()


def test_every_made_table_and_figure_is_a_section_and_the_others_are_named(page: str) -> None:
    assert re.findall(r'<section id="([^"]+)">', page) == ["table3", "figure2", "table5"]
    assert "figure10, not made yet" in page
    assert page.count("<html") == page.count("<h1>") == 1


def test_pictures_lie_inside_and_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert page.count('src="data:image/png;base64,') == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page and "url(" not in page


def test_it_opens_with_the_ledger_one_line_a_claim(page: str) -> None:
    ledger = page[: page.index("<nav>")]
    assert re.findall(r"<tr><td class=\"words\">([CFM]\d\d)</td>", ledger) == [*published_claims()]
    assert '<td class="words">All</td><td>39</td>' in ledger
    line = next(line for line in ledger.splitlines() if ">C22<" in line)
    assert ">holds<" in line and '<a href="#figure2">figure2</a>' in line
    line = next(line for line in ledger.splitlines() if ">C09<" in line)
    assert "lemon-cut-75 over cut-75" in line and '<a href="#table3">table3</a>' in line
    assert set(re.findall(r'href="#([^"]+)"', ledger)) <= {"table3", "figure2", "table5"}


def test_a_table_of_an_earlier_version_is_shown_without_verdicts(
    project: Project, tmp_path: Path
) -> None:
    old = {"claim": "C09", "verdict": "holds", "published_difference": 4.8, "perplexity": None}
    runs = {"first_runs": ["lemon-cut-75"], "second_runs": ["cut-75"]}
    page = tmp_path / "tables" / "table3.html"
    page.parent.mkdir()
    page.write_text("<body><h1>As it was</h1></body>")
    write_manifest(
        tmp_path / "tables" / "table3.manifest.json",
        "table",
        files=[page],
        started=time.monotonic(),
        comparisons=[{**old, **runs}],
    )
    write_report(project, tmp_path, tmp_path / "report.html")
    shown = (tmp_path / "report.html").read_text()
    assert "As it was" in shown
    assert "table3 is of an earlier version: `make table3` makes it anew" in shown


def test_nothing_made_yet_is_said(project: Project, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no table or figure yet; `make all` makes them"):
        write_report(project, tmp_path, tmp_path / "report.html")


def test_a_damaged_table_is_named(project: Project, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "table5.html").write_text("cut sho")
    manifest = tables / "table5.manifest.json"
    write_manifest(manifest, "table", started=time.monotonic())
    with pytest.raises(BadInput, match="is not a rendered table; remove it, rerun"):
        write_report(project, tmp_path, tmp_path / "report.html")
    write_manifest(manifest, "table", files=[tables / "table5.html"], started=time.monotonic())
    (tables / "table5.html").write_text("cut")
    with pytest.raises(BadInput, match=r"table5\.html: is damaged; its sha256 is .*manifest\.json"):
        write_report(project, tmp_path, tmp_path / "report.html")
