"""Table 6: the settings of every preset beside the paper's, with derived token counts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.reporting.tables.table import write_table

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table6")
    write_table(load_project("smoke", CONFIG), "table6", out / "no-runs", out)
    return out


@pytest.fixture(scope="module")
def lines(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "table6.csv")


def values(lines: pd.DataFrame, preset: str, parameter: str, phase: str) -> list[float]:
    own = (
        (lines["preset"] == preset) & (lines["parameter"] == parameter) & (lines["phase"] == phase)
    )
    return lines[own]["value"].tolist()


def test_the_papers_budgets_follow_from_its_steps_and_batches(lines: pd.DataFrame) -> None:
    fusion = values(lines, "paper", "training_budget", "fusion")
    # What learns operators; the first two beside weights, in the time of 1200 without.
    assert fusion == [steps * 131072 for steps in (600, 670, 1200, 2000)]
    budgets = values(lines, "paper", "training_budget", "pre-training")
    assert {48_000 * 256 * 4096, 192_000 * 256 * 4096} <= set(budgets)
    assert values(lines, "paper", "lr_layer_operator", "fusion") == [0.0005]
    assert values(lines, "paper", "lr_layer_operator", "pre-training") == []
    printed = lines[lines["preset"] == "paper"].set_index(["parameter", "phase"])["published"]
    assert set(printed["training_budget", "pre-training"]) == {"50B"}
    assert pd.isna(printed["lr_masks", "pruning"])


def test_a_preset_shows_the_rates_of_its_own_runs(laptop: Project, lines: pd.DataFrame) -> None:
    runs = [run for run in laptop.runs.values() if run.method.pretrains]
    rates = sorted({run.pretraining.weight_rate for run in runs})
    assert values(lines, "laptop", "lr_theta", "pre-training") == rates
    assert len(rates) > 1  # a model from scratch has its own


def test_a_preset_that_lacks_a_name_of_the_runs_is_left_out_and_named(
    config: Path, tmp_path: Path
) -> None:
    (config / "presets" / "other.yaml").write_text(
        "base: smoke\ndescription: Without rates\nrates: {scratch: null}\n"
    )
    write_table(load_project("smoke", config), "table6", tmp_path, tmp_path)
    assert "Left out: other, which lacks" in (tmp_path / "table6.md").read_text()
    assert "other" not in set(pd.read_csv(tmp_path / "table6.csv")["preset"])


@pytest.mark.parametrize("suffix", ["md", "tex", "html"])
def test_the_notes_name_the_papers_contradictions(folder: Path, suffix: str) -> None:
    text = (folder / f"table6.{suffix}").read_text()
    for said in ("5,000 steps", "2,000 steps", "batch of 32", "4B tokens", "appendix"):
        assert said in text


def test_a_rate_of_any_preset_renders_it_again(config: Path) -> None:
    before = stage_params(load_project("laptop", config), "table", "table6")
    smoke = config / "presets" / "smoke.yaml"
    smoke.write_text(smoke.read_text().replace("dimension_rate: 0.005", "dimension_rate: 0.006"))
    assert stage_params(load_project("laptop", config), "table", "table6") != before
