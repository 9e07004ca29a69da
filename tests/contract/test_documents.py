"""Documents: their links lead somewhere, and the verdicts of the README are the ledger's."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 900


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        link
        for link in links
        if "://" not in link and not (document.parent / link.split("#")[0]).exists()
    ]
    assert not broken


def test_the_readmes_verdicts_are_those_of_the_ledger() -> None:
    with (ROOT / "results/laptop/claims.csv").open(encoding="utf-8", newline="") as file:
        verdicts = {line["id"]: line["verdict"] for line in csv.DictReader(file)}
    table = re.search(r"^\| verdict \|.*?\n\n", README, re.S | re.M)
    assert table
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (.*) \|$", table[0], re.M)
    assert {verdict for verdict, *_ in rows} == {*verdicts.values()}
    for verdict, count, claims in rows:
        judged = [claim for claim, own in verdicts.items() if own == verdict]
        assert int(count) == len(judged), verdict
        named = re.findall(r"\b[CFM]\d\d\b", claims)
        if verdict != "not tested":  # too many to name
            assert sorted(named) == sorted(judged), verdict
