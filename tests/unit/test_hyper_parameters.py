"""Table 6: the settings of every preset beside the paper's, with derived token counts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lemon.configuration.load import load_project
from lemon.configuration.stages import stage_params
from lemon.reporting.tables.table import write_table

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table6")
    write_table(load_project("smoke", CONFIG), "table6", out / "no-runs", out)
    return out


@pytest.fixture(scope="module")
def values(folder: Path) -> pd.Series:
    lines = pd.read_csv(folder / "table6.csv", dtype=str, keep_default_na=False)
    return lines.set_index(["preset", "parameter", "phase"])


def test_the_papers_budgets_follow_from_its_steps_and_batches(values: pd.DataFrame) -> None:
    paper = values.loc["paper"]
    assert float(paper.loc[("training_budget", "fusion"), "value"]) == pytest.approx(
        1200 * 32 * 4096, rel=1e-4
    )
    budget, long = paper.loc[("training_budget", "pre-training"), "value"].split()
    assert float(budget) == pytest.approx(48_000 * 256 * 4096, rel=1e-4)
    assert float(long) == pytest.approx(4 * float(budget), rel=1e-4)
    assert paper.loc[("training_budget", "pre-training"), "published"] == "50B"
    assert paper.loc[("lr_layer_operator", "fusion"), "value"] == "0.0005"
    assert paper.loc[("lr_layer_operator", "pre-training"), "value"] == ""
    assert paper.loc[("lr_theta", "pruning"), "published"] == ""


def test_a_preset_shows_the_rates_of_its_own_runs(values: pd.DataFrame) -> None:
    laptop = load_project("laptop", CONFIG)
    runs = [run for run in laptop.runs.values() if run.method.pretrains]
    rates = sorted({run.pretraining.weight_rate for run in runs})
    shown = values.loc[("laptop", "lr_theta", "pre-training"), "value"]
    assert shown == " ".join(f"{rate:g}" for rate in rates)
    assert len(rates) > 1  # a model from scratch has its own


@pytest.mark.parametrize("suffix", ["md", "tex", "html"])
def test_the_notes_name_the_papers_contradictions(folder: Path, suffix: str) -> None:
    text = (folder / f"table6.{suffix}").read_text()
    for said in ("5,000 steps", "2,000 steps", "batch of 32", "4B tokens", "appendix"):
        assert said in text


def test_a_rate_of_any_preset_renders_it_again() -> None:
    project = load_project("laptop", CONFIG)
    before = stage_params(project, "table", "table6")
    assert '"pretraining"' in before and '"paper"' in before
