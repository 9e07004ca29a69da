"""The figure of quality over cost: its rows, its numbers, and labels that do not overlap."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import FLOORS, scored_text, write_runs, write_scored
from few_runs import with_rows_of

from lemon.configuration.paper import TableRow
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.facts.inference_times import inference_times
from lemon.reporting.facts.model_costs import model_cost
from lemon.reporting.facts.scores import BITS
from lemon.reporting.figures.drawing import draw_figure
from lemon.reporting.figures.figure import write_figure
from lemon.reporting.figures.figure_numbers import read_numbers

pytestmark = pytest.mark.slow

FIGURE = "figure-cost"
TABLES = ("methods", "methods-trained", "starts")


@pytest.fixture(scope="module")
def drawn(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cost")
    runs = write_runs(project, FIGURE, folder / "runs", documents=12)
    write_figure(project, FIGURE, runs, folder / "figures", scored_text(runs))
    return folder


@pytest.fixture(scope="module")
def lines(drawn: Path) -> pd.DataFrame:
    return pd.read_csv(drawn / "figures" / f"{FIGURE}.csv").set_index("method", drop=False)


def test_the_rows_of_the_tables_each_run_once(project: Project) -> None:
    rows = project.table(FIGURE).rows
    runs = [run for row in rows for run in row.runs]
    assert len(runs) == len(set(runs))
    shown = {run for name in TABLES for run in project.table(name).runs}
    assert set(runs) == shown
    [prune] = [row for row in rows if "lemon-prune-75" in row.runs]
    assert prune.label == "LEMON-Prune"  # as in `methods-trained`, which is named before `starts`


def test_rows_without_runs_are_named_once(project: Project) -> None:
    def row(label: str, *runs: str) -> TableRow:
        return TableRow(label=label, target="depth-75", runs=runs)

    spec = project.table(FIGURE).model_copy(update={"rows": (), "rows_of": ("one", "two")})
    tables = {
        "one": spec.model_copy(update={"rows": (row("A", "a"), row("B"))}),
        "two": spec.model_copy(update={"rows": (row("A"), row("B"), row("C", "a"), row("B", "b"))}),
    }
    rows = spec.with_rows(tables).rows
    assert [(one.label, one.runs) for one in rows] == [("A", ("a",)), ("B", ()), ("B", ("b",))]


def test_the_numbers_are_those_of_the_table(project: Project, drawn: Path, tmp_path: Path) -> None:
    runs = ("source", "come-75", "lemon-prune-50", "shear-width")
    few = with_rows_of(project, "methods-trained", *runs)
    write_scored(few, "methods-trained", drawn / "runs", tmp_path)
    table = pd.read_csv(tmp_path / "methods-trained.csv")
    lines = pd.read_csv(drawn / "figures" / f"{FIGURE}.csv").set_index("run")
    for run in runs:
        own = table[table["run"] == run].set_index(["task", "metric"])["value"]
        perplexity = own["heldout", "calibrated_perplexity"]
        assert lines.loc[run, "loss"] == pytest.approx(math.log(perplexity), abs=1e-5)
        assert lines.loc[run, "bits_per_byte"] == own["average", BITS]
        times = inference_times(project, drawn / "runs")
        cost = model_cost(project, project.run(run), times)
        assert lines.loc[run, "generation_time_share"] == cost.time.generation_time_share
        assert lines.loc[run, "flops"] == cost.flops == own["cost", "flops"]
        assert lines.loc[run, "training_flops"] == pytest.approx(cost.training_flops)


def test_levels_and_what_is_learned(lines: pd.DataFrame) -> None:
    levels = lines[lines["target"].isna()]
    assert list(levels["run"].fillna("")) == ["source", ""]
    assert lines.loc["unigram floor", "loss"] == FLOORS["unigram"]
    by_run = lines.set_index("run")["learns"]
    assert by_run["cut-75"] == by_run["shear-selection-75"] == "nothing learned"
    assert by_run["shear-width"] == "masks and weights"
    assert by_run["lemon-cut-trained-75"] == "operators and weights"
    assert set(lines["target"].dropna()) == {"22 layers", "15 layers", "30 layers, hidden size 384"}


def test_the_best_points_have_labels_and_no_texts_overlap(drawn: Path) -> None:
    numbers = read_numbers(drawn / "figures", FIGURE)
    figure = draw_figure(numbers)
    figure.canvas.draw()
    shown = numbers.frame[numbers.frame["target"].notna() & (numbers.frame["seeds"] > 0)]
    assert len(figure.axes) == 4
    panels = [(x, y) for y in ("loss", "bits_per_byte") for x in ("flops", "making_flops")]
    for axes, (x, y) in zip(figure.axes, panels, strict=True):
        best = [
            one["method"]
            for place, one in shown.iterrows()
            if not any(
                other["target"] == one["target"] and other[x] <= one[x] and other[y] <= one[y]
                for _, other in shown.drop(place).iterrows()
            )
        ]
        labels = [text.get_text() for text in axes.texts if text.get_text() in set(shown["method"])]
        assert sorted(labels) == sorted(best)
        points = sum(line.get_marker() not in ("None", "*", "") for line in axes.lines)
        assert points == len(shown)
    texts = [*(text for axes in figure.axes for text in axes.texts), *figure.texts]
    boxes = [text.get_window_extent() for text in texts]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :]), texts[index]
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_rows_that_were_not_run_are_in_the_caption_alone(
    project: Project, drawn: Path, tmp_path: Path
) -> None:
    spec = project.table(FIGURE)
    rows = [
        row.model_copy(update={"runs": ()}) if row.label in ("CoMe", "SLEB") else row
        for row in spec.rows
        if row.target is None or row.label in ("Cut", "CoMe", "SLEB", "ShortGPT")
    ]
    fewer = replace(project, tables={FIGURE: spec.model_copy(update={"rows": tuple(rows)})})
    write_figure(fewer, FIGURE, drawn / "runs", tmp_path, scored_text(drawn / "runs"))
    caption = json.loads((tmp_path / f"{FIGURE}.facts.json").read_text())["caption"]
    assert (
        "Not yet run, for the target of 22 layers: SLEB; CoMe. "
        "Not yet run, for the target of 15 layers: SLEB; CoMe." in caption
    )
    lines = pd.read_csv(tmp_path / f"{FIGURE}.csv")
    assert lines.loc[lines["method"] == "CoMe", "loss":"bits_high"].isna().all().all()  # type: ignore[misc]
    labels = draw_figure(read_numbers(tmp_path, FIGURE)).axes[0].texts
    assert not {"CoMe", "SLEB"} & {text.get_text() for text in labels}


def test_the_same_outcomes_give_the_same_files(
    project: Project, drawn: Path, tmp_path: Path
) -> None:
    few = with_rows_of(
        project, FIGURE, "source", "cut-75", "come-50", "lemon-prune-50", "shear-width"
    )
    for folder in ("one", "two"):
        text = scored_text(drawn / "runs")
        write_figure(few, FIGURE, drawn / "runs", tmp_path / folder, text)
    for suffix in ("csv", "facts.json", "png", "svg", "pdf"):
        first, second = (tmp_path / folder / f"{FIGURE}.{suffix}" for folder in ("one", "two"))
        assert first.read_bytes() == second.read_bytes(), suffix


def test_without_the_text_there_is_no_floor(project: Project, drawn: Path, tmp_path: Path) -> None:
    few = with_rows_of(project, FIGURE, "source", "cut-75")
    with pytest.raises(BadInput, match="name its folder with --text"):
        write_figure(few, FIGURE, drawn / "runs", tmp_path)
