"""Table 2 and the dense source from fabricated outcomes: eleven columns, protocol, departures."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import write_runs, write_scored
from manifests import seal_again

from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS
from lemon.published.tables import published_scores
from lemon.reporting.facts.departures import departures
from lemon.reporting.facts.scores import BITS, SHARE
from lemon.reporting.facts.statistics import wilson_interval
from lemon.reporting.tables.accuracy import column_parts
from lemon.tracking.records import table_records

pytestmark = pytest.mark.slow

TEXTS = ("md", "tex", "html")


@pytest.fixture(scope="module")
def rendered(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table2")
    for table in ("table2", "dense"):
        write_runs(project, table, folder / "runs", documents=40)
        write_scored(project, table, folder / "runs", folder / "results" / "tables")
    return folder


@pytest.fixture(scope="module")
def lines(rendered: Path) -> pd.DataFrame:
    """The lines of Table 2, of accuracies alone."""
    return accuracies(pd.read_csv(rendered / "results" / "tables" / "table2.csv"))


def accuracies(lines: pd.DataFrame) -> pd.DataFrame:
    ours = ~lines["metric"].isin((BITS, SHARE)) & ~lines["method"].str.endswith(" floor", na=False)
    return lines[ours]


def text_of(rendered: Path, table: str, suffix: str) -> str:
    return (rendered / "results" / "tables" / f"{table}.{suffix}").read_text()


def test_every_row_has_the_eleven_tasks_of_the_paper(lines: pd.DataFrame) -> None:
    scored = lines[lines["task"].isin(TASKS)]
    per_row = scored.groupby(["target", "method"], dropna=False)["task"].nunique()
    assert len(per_row) == 11 and set(per_row) == {11}
    source = scored[scored["run"] == "source"].set_index("task")
    assert source.loc["boolq", "published"] == 82.1
    assert source.loc["nq_open", "metric"] == "exact_match"
    mean = lines[(lines["run"] == "source") & (lines["task"] == "average")]
    assert mean["n"].tolist() == [11 * 40] and mean["published"].tolist() == [64.6]


def test_rows_name_the_papers_model_where_it_is_another(
    rendered: Path, lines: pd.DataFrame
) -> None:
    named = dict(zip(lines["method"], lines["published_method"], strict=True))
    assert named["LEMON 2-2"] == "LEMON-2.7B"
    assert named["Scratch, longer"] == "Pythia-2.8B"
    assert named["LEMON-Cut, widths first"] == "LEMON-1.3B"
    for suffix in TEXTS:
        assert "paper: LEMON-2.7B" in text_of(rendered, "table2", suffix)
    absent = lines[lines["method"] == "INCITE-Base-3B"]
    assert absent["value"].isna().all() and absent["published"].notna().any()


def test_rows_are_ordered_against_the_pruned_model(rendered: Path, lines: pd.DataFrame) -> None:
    mean = lines[lines["task"] == "average"].set_index("run")
    assert mean.loc["scratch-width-long", "verdict"] == "same order as paper"
    assert mean.loc[["shear-width-pretrained", "scratch-width"], "verdict"].isna().all()
    for suffix in TEXTS:
        assert "Against Shear" in text_of(rendered, "table2", suffix)


def test_runs_that_answer_alike_are_tied(project: Project, tmp_path: Path) -> None:
    runs = write_runs(project, "table2", tmp_path / "runs", documents=20)
    for folder in ("outcomes", "outcomes-main"):
        for file in (runs / "shear-width-pretrained" / folder).glob("*.parquet"):
            shutil.copy(file, runs / "lemon-width-2-2-pretrained" / folder)
        seal_again(runs / "lemon-width-2-2-pretrained" / folder / "manifest.json")
    write_scored(project, "table2", runs, tmp_path)
    lines = accuracies(pd.read_csv(tmp_path / "table2.csv"))
    verdicts = lines[(lines["run"] == "lemon-width-2-2-pretrained") & (lines["task"] != "heldout")]
    assert set(verdicts.loc[verdicts["task"] != "learning", "verdict"]) == {"tied"}
    for suffix in TEXTS:
        assert "tied" in (tmp_path / f"table2.{suffix}").read_text()
        assert "not resolved" in (tmp_path / f"table2.{suffix}").read_text()


def test_fifteen_columns_are_set_in_two_parts(rendered: Path) -> None:
    assert column_parts(7) == [[0, 1, 2, 3, 4, 5, 6]]
    assert column_parts(13) == [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
    widths = {
        line.count("|")
        for line in text_of(rendered, "table2", "md").splitlines()
        if line.startswith("| LEMON 2-2 |")
    }
    assert widths == {10}  # eight columns, and seven with the order
    tex = text_of(rendered, "table2", "tex")
    assert re.findall(r"longtable\}\{l\*\{(\d)\}\{r\}(l?)\}", tex) == [("8", ""), ("7", "l")]
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", tex, flags=re.DOTALL):
        rows = [row for row in re.split(r"\\\\\n", body)[:-1] if "multicolumn" not in row]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_departures_say_what_was_not_done_as_in_the_paper(project: Project, rendered: Path) -> None:
    for suffix in TEXTS:
        text = text_of(rendered, "table2", suffix)
        assert "tokens of pre-training" in text and "50,331,648,000" in text
        assert "the same first rows before every question" in text
        assert "BoolQ 11 of 32" in text
    found = {one.setting: (one.here, one.paper) for one in departures(project, "table2")}
    assert found["rows of each task"] == ("the first 200 (packaged)", "all")
    assert found["tokens of pre-training"][0].split(" / ")[0] == "307,200"
    assert not any("pre-training" in one.setting for one in departures(project, "table3"))
    assert not any("question" in one.setting for one in departures(project, "table3"))


def test_a_limit_of_one_task_is_told(project: Project) -> None:
    evaluation = project.preset.evaluation.model_copy(update={"limits": {"mmlu": 228}})
    changed = replace(project, preset=project.preset.model_copy(update={"evaluation": evaluation}))
    found = {one.setting: one.here for one in departures(changed, "table2")}
    assert found["rows of each task"] == "the first 200, of MMLU 228 (packaged)"


def test_the_records_carry_all_eleven_scores(project: Project, rendered: Path) -> None:
    records = table_records(project, "table2", rendered / "runs", rendered / "results")
    by_key = {record.key: record for record in records}
    trained = by_key["laptop/runs/lemon-width-2-2-pretrained"]
    rate = project.preset.rates["pretraining-lemon"].weight_rate
    assert trained.params["pretraining.weight_rate"] == str(rate)
    assert {metric.name for metric in trained.metrics} >= {"loss/train", "cost/tokens"}
    for key in ("laptop/runs/source", "paper/table2/LEMON-2.7B/32"):
        names = {metric.name for metric in by_key[key].metrics}
        assert {f"acc/{task}" for task in TASKS} <= names
        assert "acc/mean-11" in names
    params = by_key["laptop/runs/source"].params
    asked = [params[f"evaluation.{suite}.tasks"].split(", ") for suite in ("ablation", "main")]
    assert {task for tasks in asked for task in tasks} == set(TASKS)
    assert params["evaluation.fewshot"] == "fixed"
    dense = table_records(project, "dense", rendered / "runs", rendered / "results")
    source = next(record for record in dense if record.key == "laptop/runs/source")
    assert source.digest == by_key[source.key].digest  # whichever table asks for it
    names = {metric.name for metric in source.metrics}
    assert {f"dense/{kind}/{task}" for kind in ("acc", "bpb") for task in TASKS} <= names
    assert source.params["evaluation.dense.limits.mmlu"] == "1140"


def test_the_dense_source_has_wilsons_interval_shots_and_guessing(rendered: Path) -> None:
    lines = pd.read_csv(rendered / "results" / "tables" / "dense.csv")
    bits = lines[lines["metric"] == BITS].set_index("task")
    share = lines[lines["metric"] == SHARE].set_index("task")
    ours = accuracies(lines[lines["run"] == "source"]).set_index("task")
    outcomes = rendered / "runs" / "source" / "outcomes-dense" / "boolq.parquet"
    right = int(pd.read_parquet(outcomes)["correct"].sum())
    interval = wilson_interval(right, 40)
    boolq = ours.loc["boolq"]
    assert boolq["value"] == pytest.approx(100 * right / 40)
    assert boolq["ci_low"] == pytest.approx(100 * interval.low, abs=1e-3)
    assert boolq["ci_high"] == pytest.approx(100 * interval.high, abs=1e-3)
    assert (boolq["shots"], boolq["shots_asked"], boolq["guessing"]) == (11, 32, 50.0)
    assert pd.isna(ours.loc["nq_open", "guessing"])
    assert len(ours) == len(bits) == 12  # and the mean
    # 1 nat of 4 bytes where the answer is right, 3 nats where it is wrong; the other choice 2 nats
    rate = right / 40
    assert bits.loc["boolq", "value"] == pytest.approx((3 - 2 * rate) / (4 * math.log(2)), abs=1e-4)
    expected = 100 * (rate * math.e + (1 - rate)) / (1 + math.e)
    assert share.loc["boolq", "value"] == pytest.approx(expected, abs=1e-4)
    assert not {"nq_open", "lambada_openai"} & set(share.index)
    for suffix in TEXTS:
        text = text_of(rendered, "dense", suffix)
        assert "11 of 32" in text and "66.3" in text and "lighteval" in text


def test_published_scores_are_those_of_the_source_alone() -> None:
    tasks = tuple(TASKS)
    assert published_scores("smollm2.csv", "a random model", tasks) == []
    found = published_scores("smollm2.csv", "SmolLM2-135M-Instruct", tasks)
    assert {score.model for score in found} == {"SmolLM2-135M-Instruct", "SmolLM2-135M"}
    assert all(score.source.startswith("https://huggingface.co/HuggingFaceTB/") for score in found)
    few = published_scores("smollm2.csv", "SmolLM2-135M-Instruct", ("piqa", "arc_easy"))
    assert {score.name for score in few} == {"PIQA"}


def test_a_preset_with_fewer_tasks_has_both_tables(smoke: Project, tmp_path: Path) -> None:
    for table in ("table2", "dense"):
        runs = write_runs(smoke, table, tmp_path / "runs", documents=8)
        write_scored(smoke, table, runs, tmp_path / "tables")
    lines = pd.read_csv(tmp_path / "tables" / "table2.csv")
    tasks = set(smoke.table("table2").tasks)
    assert set(lines["task"]) == {*tasks, "average", "heldout", "learning"}
    assert "boolq" not in tasks
    assert "has other tasks than the paper" in (tmp_path / "tables" / "table2.md").read_text()
    assert "lighteval" not in (tmp_path / "tables" / "dense.md").read_text()
