"""How a table is laid out: as Markdown, LaTeX, HTML, and as a picture."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chained_table import chained
from fabricated_runs import write_runs, write_scored

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.reporting.tables.rendering import tex_escaped

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def chained_project() -> Project:
    return chained(load_project("laptop", CONFIG))


@pytest.fixture(scope="module")
def chained_table(chained_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a table with a row that was not run and rows that the paper does not have."""
    folder = tmp_path_factory.mktemp("chained")
    write_runs(chained_project, "table3", folder / "runs", documents=20)
    write_scored(chained_project, "table3", folder / "runs", folder / "tables")
    return folder / "tables"


def test_a_rule_parts_the_papers_rows_from_ours(chained_table: Path) -> None:
    rule = {
        "md": "| **ours, not in the paper** |",
        "html": '<tr class="ours">',
        "tex": "\\cmidrule(r){1-1}",
    }
    for suffix, mark in rule.items():
        text = (chained_table / f"table3.{suffix}").read_text()
        assert text.count(mark) == 1
        above, below = text.split(mark)
        assert "LEMON-Cut" in above and "LEMON-Random" not in above
        assert "LEMON-Random" in below


def test_tex_has_balanced_braces_and_rows_of_equal_length(chained_table: Path) -> None:
    text = (chained_table / "table3.tex").read_text()
    assert text.count("{") == text.count("}")
    bodies = re.findall(r"\\toprule(.*?)\\bottomrule", text, flags=re.DOTALL)
    widths = []
    for body in bodies:
        rows = [row for row in re.split(r"\\\\\n", body)[:-1] if "multicolumn" not in row]
        (width,) = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
        widths.append(width)
    assert widths == [10, 13, 7, 7, 2]  # scores, orderings, task by task, learning, departures


class Tables(HTMLParser):
    """The widths of the rows of every table, and tags that were closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.widths: list[list[int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "table":
            self.widths.append([])
        elif tag == "tr":
            self.widths[-1].append(0)
        elif tag in ("td", "th"):
            self.widths[-1][-1] += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)


def test_html_is_well_formed_with_rows_of_equal_length(chained_table: Path) -> None:
    parser = Tables()
    parser.feed((chained_table / "table3.html").read_text())
    assert (parser.crossed, parser.open) == ([], [])
    assert [set(rows) for rows in parser.widths] == [{11}, {14}, {8}, {8}, {3}]


def test_markdown_tables_have_rows_of_equal_length(chained_table: Path) -> None:
    blocks = (chained_table / "table3.md").read_text().split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    widths = [{line.count("|") for line in table} for table in tables]
    assert widths == [{12}, {12}, {15}, {15}, {9}, {9}, {9}, {4}]


def test_html_stands_alone(chained_table: Path) -> None:
    text = (chained_table / "table3.html").read_text()
    assert not re.search(r"(src|href)=|@import|url\(", text)


def test_the_picture_is_a_picture(chained_table: Path) -> None:
    data = (chained_table / "table3.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 50_000


def png_size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])


def test_the_picture_makes_room_for_a_longer_label(
    chained_project: Project, chained_table: Path, tmp_path: Path
) -> None:
    spec = chained_project.table("table3")
    longer = spec.rows[-1].model_copy(update={"label": "a label much longer than any other one"})
    table = spec.model_copy(update={"rows": (*spec.rows[:-1], longer)})
    project = replace(chained_project, tables={"table3": table})
    write_scored(project, "table3", chained_table.parent / "runs", tmp_path)
    width, height = png_size(chained_table / "table3.png")
    wider, same = png_size(tmp_path / "table3.png")
    assert wider > width + 50
    assert same == height


def test_tex_escapes() -> None:
    assert tex_escaped("5 % of a_b & 2.6×10⁷") == r"5 \% of a\_b \& 2.6$\times$10$^{7}$"
