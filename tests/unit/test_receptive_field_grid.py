"""Figure 4 right: its numbers, its files, and what it says of the paper."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import write_metrics, write_runs
from manifests import seal_again
from replanned import replanned

from lemon.architecture import LlamaShape
from lemon.configuration.preset import RadiiSettings
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.radii import Radii
from lemon.reporting.facts.receptive_fields import grid_facts, paper_names, step_seconds
from lemon.reporting.figures.drawing import draw_figure
from lemon.reporting.figures.figure import write_figure
from lemon.reporting.figures.figure_numbers import FigureNumbers, FigureWords
from lemon.tracking.records import table_records

FIGURE = "figure4-right"


@pytest.fixture(scope="module")
def drawn(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figure")
    write_runs(project, FIGURE, folder / "runs", documents=20)
    write_figure(project, FIGURE, folder / "runs", folder / "figures")
    return folder


@pytest.fixture(scope="module")
def lines(drawn: Path) -> pd.DataFrame:
    return pd.read_csv(drawn / "figures" / f"{FIGURE}.csv").set_index("run")


def test_one_line_a_run_with_our_radii(project: Project, lines: pd.DataFrame) -> None:
    assert list(lines.index) == project.table(FIGURE).runs
    assert lines.loc["lemon-width-128-16", ["r_a", "r_i", "r_h"]].tolist() == [64, 16, 16]
    levels = lines.loc[["shear-width", "cut-width"]]
    assert levels[["r_a", "r_i", "operator_parameters"]].isna().all().all()
    assert levels["mean"].notna().all()


def test_the_mean_is_that_of_the_tasks(drawn: Path, lines: pd.DataFrame) -> None:
    outcomes = drawn / "runs" / "lemon-width-2-4" / "outcomes"
    shares = [pd.read_parquet(path)["correct"].mean() for path in outcomes.glob("*.parquet")]
    line = lines.loc["lemon-width-2-4"]
    assert line["mean"] == pytest.approx(100 * sum(shares) / 5)
    assert line["ci_low"] < line["mean"] < line["ci_high"]


def test_published_values_stand_beside_ours(lines: pd.DataFrame) -> None:
    assert lines["published"].dropna().to_dict() == {
        "lemon-width-128-2": 56.5,
        "lemon-width-2-2": 57.2,
        "lemon-width-2-4": 52.3,
        "shear-width": 56.4,
        "cut-width": 34.1,
    }


def test_operator_size_by_hand(lines: pd.DataFrame) -> None:
    """B: 192 x 288. A layer: heads 2 x 3 key/value heads of one block, FFN 512 x 768; 30 layers."""
    line = lines.loc["lemon-width-128-2"]
    count = 192 * 288 + 30 * (2 * 3 + 512 * 768)
    assert line["operator_parameters"] == count
    embedding, layer = 49152 * 384, 384 * (2 * 384 + 2 * 128) + 3 * 384 * 1024 + 2 * 384
    assert line["operator_share"] == pytest.approx(
        100 * count / (embedding + 30 * layer + 384), abs=1e-4
    )


def test_operators_of_a_small_pair_of_models() -> None:
    large = LlamaShape(2, 8, 12, 2, 2, 4, vocab_size=10, tie_word_embeddings=True)
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    small = replace(large, hidden_size=4, intermediate_size=8, **heads)
    radii = Radii(hidden=2, attention=4, ffn=4)
    assert radii.parameters(large, small) == 2 * 4 + 2 * (1 * 2 + 2 * 3)
    parameters = 10 * 4 + 2 * (4 * 4 * 4 + 3 * 4 * 8 + 2 * 4) + 4
    assert radii.ffn_share(large, small) == pytest.approx(100 * 12 / parameters)


def test_step_time_is_tokens_over_the_rate_of_each_step(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "lemon-width-2-2"
    write_metrics(folder)
    rates = {1: 512.0, 2: 256.0, 3: 2048.0}
    events = [(step, 1.0) for step in (1, 2)] + list(rates.items())  # a resumed run repeats steps
    (folder / "metrics.jsonl").write_text(
        "".join(
            json.dumps(
                {"step": s, "tokens": s, "wall_s": s, "name": "train/tokens_per_s", "value": v}
            )
            + "\n"
            for s, v in events
        )
    )
    seal_again(folder / "manifest.json")
    assert step_seconds(project.run("lemon-width-2-2"), tmp_path) == [2.0, 4.0, 0.5]
    assert step_seconds(project.run("cut-width"), tmp_path) == []
    with pytest.raises(BadInput, match=r"shear-width/metrics\.jsonl: holds no train/tokens_per_s"):
        step_seconds(project.run("shear-width"), tmp_path)


def test_two_rows_of_one_cell_are_refused(project: Project, drawn: Path) -> None:
    spec = project.table(FIGURE)
    twice = spec.model_copy(update={"rows": (*spec.rows, spec.rows[0])})
    doubled = replace(project, tables={FIGURE: twice})
    with pytest.raises(BadInput, match=r"both have r_a 64 and r_i 2"):
        grid_facts(doubled, FIGURE, drawn / "runs")


def test_the_paper_is_named_where_its_radius_is_another(project: Project) -> None:
    def names_of(project: Project) -> dict[str, dict[str, str]]:
        return paper_names(map(project.run, project.table(FIGURE).runs))

    assert names_of(project) == {"r_a": {"64": "128", "16": "32"}, "r_i": {}}
    own = {"128-2": RadiiSettings(attention=128, ffn=2), "2-2": RadiiSettings(attention=2, ffn=3)}
    preset = project.preset.model_copy(update={"radii": {**project.preset.radii, **own}})
    names = names_of(replanned(project, preset=preset))
    assert "128" not in names["r_a"] and names["r_i"] == {"3": "2"}


def test_every_cell_is_annotated_and_no_text_overlaps(lines: pd.DataFrame) -> None:
    frame = lines.reset_index()
    names = {"r_a": {"64": "128"}}
    kind, caption = "receptive_field_grid", "A caption. " * 30
    words = FigureWords("Title", caption, kind, {}, {}, radius_names=names)
    figure = draw_figure(FigureNumbers(frame, words))
    figure.canvas.draw()
    texts = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    shown = [text.get_text() for text in texts]
    for mean in frame.loc[frame["r_a"].notna(), "mean"]:
        assert f"{mean:.1f}" in shown
    assert any("Shear" in text and "(paper 56.4)" in text for text in shown)
    boxes = [text.get_window_extent() for text in (*texts, *figure.texts)]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :]), index
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_row_that_was_not_run_is_an_empty_cell_or_in_the_caption(
    project: Project, drawn: Path, tmp_path: Path
) -> None:
    spec = project.table(FIGURE)
    absent = spec.rows[1].model_copy(update={"runs": ()})
    table = spec.model_copy(update={"rows": (spec.rows[0], absent, *spec.rows[2:])})
    write_figure(replace(project, tables={FIGURE: table}), FIGURE, drawn / "runs", tmp_path)
    line = pd.read_csv(tmp_path / f"{FIGURE}.csv").set_index("method").loc[absent.label]
    assert line.drop("seeds").isna().all()


@pytest.mark.slow
def test_the_same_outcomes_and_times_give_the_same_files(
    project: Project, drawn: Path, tmp_path: Path
) -> None:
    write_figure(project, FIGURE, drawn / "runs", tmp_path)
    for suffix in ("csv", "png", "svg", "pdf"):
        again = (tmp_path / f"{FIGURE}.{suffix}").read_bytes()
        assert again == (drawn / "figures" / f"{FIGURE}.{suffix}").read_bytes(), suffix


def test_the_manifest_names_outcomes_departures_and_files(drawn: Path) -> None:
    manifest = json.loads((drawn / "figures" / f"{FIGURE}.manifest.json").read_text())
    assert manifest["stage"] == "figure"
    assert "lemon-width-2-2" in manifest["inputs"]
    assert {f"{FIGURE}.{suffix}" for suffix in ("csv", "facts.json", "png", "svg", "pdf")} == set(
        manifest["files"]
    )
    assert "steps of fusion" in {d["setting"] for d in manifest["departures"]}


@pytest.mark.slow
def test_step_times_are_no_part_of_what_must_repeat(
    project: Project, drawn: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(drawn / "runs", runs)
    steps = project.run("lemon-width-2-2").steps
    write_metrics(runs / "lemon-width-2-2", steps, seconds_per_step=9)
    write_figure(project, FIGURE, runs, tmp_path / "figures")
    name = f"{FIGURE}.manifest.json"
    first, second = (
        json.loads((folder / "figures" / name).read_text()) for folder in (drawn, tmp_path)
    )
    assert first["inputs"] == second["inputs"]
    assert first["settings"] == second["settings"]


def test_a_figure_has_records_and_a_table_is_no_figure(project: Project, drawn: Path) -> None:
    records = table_records(project, FIGURE, drawn / "runs", drawn)
    summary = records[0]
    assert {path.suffix for path in summary.files} == {".csv", ".png", ".svg", ".pdf", ".json"}
    with pytest.raises(BadInput, match="run `lemon figure --figure figure4-right`"):
        table_records(project, FIGURE, drawn / "runs", drawn / "elsewhere")
    with pytest.raises(BadInput, match="run `lemon table --table table4`"):
        write_figure(project, "table4", drawn / "runs", drawn / "figures")
