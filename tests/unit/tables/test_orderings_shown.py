"""Orderings of rows in words: counted, in lines of every rendering, and as tags of a tracker."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from chained_table import CUT, SHEAR, TASKS

from lemon.configuration.project import Project
from lemon.reporting.claims.measures import MeasureTest
from lemon.reporting.claims.orderings import OrderingTest, TaskTest
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    UNRESOLVED,
    ordering_in_words,
)
from lemon.reporting.tables.orderings_section import counts, ordering_sections, resolved
from lemon.tracking.records import table_records


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
        "Of 5 orderings of the paper's claims and numbers: on accuracy 2 hold, 1 does not, 1 is "
        "not resolved, 1 is below the floor; on held-out loss 2 hold, 1 does not, 0 are not "
        "resolved, 1 is below the floor.",
        "Of 1 ordering of ours: on accuracy 0 hold, 0 do not, 1 is not resolved; on held-out loss "
        "1 holds, 0 do not, 0 are not resolved.",
        "1 more ordering is not so in the paper on these tasks and not counted among them.",
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


def test_every_rendering_has_the_orderings(
    chained_tables: Path, orders: list[OrderingTest]
) -> None:
    on_the_mean, by_task = ordering_sections(orders, [*TASKS])
    texts = {
        "md": (chained_tables / "table3.md").read_text(),
        "html": re.sub("<[^>]+>", "", (chained_tables / "table3.html").read_text()),
    }
    texts["tex"] = (chained_tables / "table3.tex").read_text().replace("$-$", "−")
    for suffix, text in texts.items():
        assert "Orderings, tested in pairs" in text
        assert "Of 2 orderings of the paper" in text
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
    html = (chained_tables / "table3.html").read_text()
    assert html.index("<details>") < html.index("Task by task") < html.index("</details>")


def test_the_manifest_holds_the_tests_and_a_tracker_their_verdicts(
    chained_project: Project, chained_runs: Path, chained_tables: Path, orders: list[OrderingTest]
) -> None:
    manifest = json.loads((chained_tables / "table3.manifest.json").read_text())
    for line, test in zip(manifest["comparisons"], orders, strict=True):
        assert line["measures"] == {name: asdict(one) for name, one in test.measures.items()}
        assert line["below_floor"] == test.below_floor
    summary, *_ = table_records(chained_project, "table3", chained_runs, chained_tables.parent)
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
