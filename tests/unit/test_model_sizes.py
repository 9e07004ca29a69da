"""Table 5: parameters computed, counted on Hugging Face's models, and beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from lemon.architecture import LlamaShape
from lemon.cli import main
from lemon.configuration.project import Project
from lemon.errors import WorkFailed
from lemon.published.models import LLAMA2_13B, narrowed
from lemon.reporting.facts.model_sizes import counted_parameters
from lemon.reporting.tables.table import write_table
from lemon.tracking.records import table_records
from lemon.tracking.replay import track

CONFIG = Path(__file__).parents[2] / "config"
DROPPED = {"93": 3, "83": 6, "60": 13}
HALVED = {"75": 8, "50": 16}
TABLE5 = {
    "LLaMA2-7B": 6_738_415_616,
    "LEMON-Vertical-24": 5_119_348_736,
    "LEMON-Vertical-16": 3_500_281_856,
    "LEMON-Horizontal-37.5%": 2_701_560_320,
    "LEMON-Horizontal-50%": 1_750_206_464,
    "LEMON-2.7B": 2_701_560_320,
    "LEMON-1.3B": 1_345_423_360,
}
# Targets of the sweep of depths, and of Table 7: by hand, a layer of 7B has 202,383,360, and one of
# 62.5 % widths 79,303,680 parameters.
OURS = {
    **{f"LLaMA2-7B, depth-{d}": 6_738_415_616 - n * 202_383_360 for d, n in DROPPED.items()},
    **{f"LLaMA2-7B, width-62-depth-{d}": 2_701_560_320 - n * 79_303_680 for d, n in HALVED.items()},
}


@pytest.fixture(scope="module")
def results(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_table(project, "table5", folder / "no-runs", folder / "tables")
    return folder


@pytest.fixture(scope="module")
def lines(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "tables" / "table5.csv", keep_default_na=True)


def test_the_papers_models(lines: pd.DataFrame) -> None:
    paper = lines[lines["preset"] == "paper"].set_index("model")
    assert paper["parameters"].to_dict() == TABLE5 | OURS
    paper = paper.drop(index=list(OURS))
    assert set(paper["parameters_difference"]) == {0}
    assert (paper["share_difference"].abs() < 1e-4).all()
    assert paper["published_model"].to_list()[1:] == list(TABLE5)[1:]
    assert paper.loc["LEMON-Vertical-24", "target"] == "depth-75"


def test_every_model_was_counted(lines: pd.DataFrame, project: Project) -> None:
    assert (lines["parameters"] == lines["parameters_counted"]).all()
    own = lines[lines["preset"] == "laptop"]
    assert list(own["target"].fillna("")) == ["", *project.preset.targets]
    # 49152 x 576 tied, 30 layers of 2 x 576^2 + 2 x 576 x 192 + 3 x 576 x 1536 + 2 x 576, a norm
    assert own["parameters"].iloc[0] == 49152 * 576 + 30 * 3_540_096 + 576 == 134_515_008


def test_llama2_13b_and_the_rule_of_widths(lines: pd.DataFrame) -> None:
    larger = lines[lines["model"] == "LLaMA2-13B"].iloc[0]
    assert larger["parameters"] == 13_015_864_320 == LLAMA2_13B.num_parameters
    seven = LlamaShape(32, 4096, 11008, 32, 32, 128, 32000)
    assert narrowed(seven) == LlamaShape(32, 2560, 6912, 20, 20, 128, 32000)
    assert narrowed(LLAMA2_13B).intermediate_size == 68 * 128  # 13824 x 5/8 = 8640 = 67.5 x 128


def test_other_presets_have_the_share_of_the_same_target_beside_them(lines: pd.DataFrame) -> None:
    beside = lines[lines["preset"] == "laptop"].set_index("target")["published_model"].dropna()
    assert beside.to_dict() == {
        "depth-75": "LEMON-Vertical-24",
        "depth-50": "LEMON-Vertical-16",
        "width-62": "LEMON-Horizontal-37.5%",
        "small": "LEMON-1.3B",
        "small-width": "LEMON-Horizontal-50%",
    }
    line = lines[(lines["preset"] == "laptop") & (lines["target"] == "depth-50")].iloc[0]
    assert line["share_of_source"] == pytest.approx(81_413_568 / 134_515_008, abs=1e-6)
    assert line["share_difference"] == pytest.approx(0.6052 - 0.5195, abs=1e-4)
    assert pd.isna(line["parameters_difference"])  # of another source


def test_a_count_that_disagrees_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaShape, "num_parameters", 7)
    with pytest.raises(WorkFailed, match="disagree"):
        counted_parameters(LlamaShape(1, 8, 8, 2, 1, 4, 11))


@pytest.mark.parametrize("suffix", ["md", "html", "tex"])
def test_the_notes_name_the_papers_slips(results: Path, suffix: str) -> None:
    text = " ".join((results / "tables" / f"table5.{suffix}").read_text().replace("\\", "").split())
    assert "6912 of 11008 is 62.8 %: 6880 is rounded up" in text
    assert "LEMON-Horizontal -37.5 % and LEMON-2.7B are the same shape" in text
    assert "6,738,415,616" in text


def test_the_command_needs_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--config", str(CONFIG), "table", "--runs", str(tmp_path / "none")]
    tables = tmp_path / "results" / "tables"
    assert main([*command, "--table", "table5", "--out", str(tables)]) == 0
    assert (tables / "table5.manifest.json").is_file()
    assert main([*command, "--table", "table3", "--out", str(tables)]) == 2
    assert "no such folder of runs" in capsys.readouterr().err


@pytest.mark.slow
def test_track_keeps_one_record_with_the_files_and_no_view(
    project: Project, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (record,) = table_records(project, "table5", results / "no-runs", results)
    assert record.tags["source"] == "table"
    for _ in range(2):
        track(project, "table5", results / "no-runs", results, tmp_path / "track.json")
        state = json.loads((tmp_path / "track.json").read_text())
        assert state["status"] == "tracked"
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        (run,) = client.search_runs([state["experiment_id"]])
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
        kinds = ("csv", "md", "tex", "html", "png", "manifest.json")
        assert names == {f"table5.{kind}" for kind in kinds}
        tags = client.get_experiment(state["experiment_id"]).tags
        assert not any(tag.startswith("mlflow.sharedViewState.") for tag in tags)
