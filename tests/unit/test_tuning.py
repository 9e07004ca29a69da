"""The table of trials: which trial is chosen, and what makes a choice unfair."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.reporting.facts.gates import Gates
from lemon.reporting.facts.tuning import TunedRates, tuning_facts
from lemon.reporting.tables.table import write_table

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
COMMITTED = ROOT / "results" / "laptop" / "tables" / "tuning.csv"
GATES = {"largest_dropped_gate": 0.0, "target_sparsity": 0.25}


def write_results(folder: Path, project: Project, losses: dict[str, list[Any]]) -> Path:
    """A folder of runs with trials that ended at these losses; (loss, sparsity, gate) if pruned."""
    for rates, ends in losses.items():
        for number, end in enumerate(ends, start=1):
            loss, facts = end, {}
            if isinstance(end, tuple):
                loss, sparsity, gate = end
                layer = {**GATES, "sparsity": sparsity, "smallest_kept_gate": gate}
                facts = {"gates": {"layer": layer}}
            place = folder / "tuning" / rates / str(number)
            place.mkdir(parents=True)
            started = time.monotonic()
            write_manifest(
                place / "manifest.json", "trial", started=started, tune_loss=loss, **facts
            )
    return folder


@pytest.fixture
def project() -> Project:
    """Three trials of operators, at layer rates that rise, and of shear."""
    return load_project("smoke", CONFIG)


def tuned(project: Project, runs: Path) -> dict[str, TunedRates]:
    return {one.name: one for one in tuning_facts(project, "tuning", runs).rates}


def test_the_lowest_loss_is_chosen_and_gates_come_first(project: Project, tmp_path: Path) -> None:
    shear = [(2.0, 0.20, 0.99), (3.0, 0.2490, 0.91), (2.5, 0.25, 0.89)]
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0, None], "shear": shear})
    found = tuned(project, runs)
    assert found["operators"].best.trial.number == 2
    assert found["operators"].at_the_edge == []
    assert found["shear"].best.trial.number == 2  # the only one that settled
    assert [one.gates.converged for one in found["shear"].results if one.gates] == [
        *(False, True, False)
    ]


def test_without_settled_gates_the_lowest_loss_is_chosen(project: Project, tmp_path: Path) -> None:
    shear = [(3.0, 0.2, 0.9), (2.0, 0.2, 0.9), (2.5, 0.2, 0.9)]
    runs = write_results(tmp_path, project, {"operators": [3.0, 2.0, 1.0], "shear": shear})
    assert tuned(project, runs)["shear"].best.trial.number == 2


def test_a_value_at_the_edge_or_with_fewer_trials_is_no_fair_choice(
    project: Project, tmp_path: Path
) -> None:
    runs = write_results(tmp_path, project, {"operators": [3.0, 2.0, 1.0], "shear": [1.0] * 3})
    operators = tuned(project, runs)["operators"]
    assert operators.at_the_edge == ["layer_rate"]  # norm_rate was not varied
    assert operators.faults(most_trials=3) == [
        "the best layer_rate is at the edge of its grid",
        "the preset has other values than the best trial",
    ]
    assert "3 trials, others have 4" in operators.faults(most_trials=4)


@pytest.mark.parametrize(
    ("sparsity", "gate", "converged"),
    [(0.2476, 0.91, True), (0.2474, 0.91, False), (0.2524, 0.91, True), (0.25, 0.9, False)],
)
def test_gates_settle_within_one_percent_and_above_nine_tenths(
    sparsity: float, gate: float, converged: bool
) -> None:
    assert Gates(sparsity, 0.25, gate, 0.0).converged is converged


def test_the_table_marks_the_chosen_and_what_did_not_settle(
    project: Project, tmp_path: Path
) -> None:
    shear = [(2.0, 0.20, 0.99), (3.0, 0.25, 0.95), (2.5, 0.25, 0.89)]
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0, None], "shear": shear})
    write_table(project, "tuning", runs, tmp_path / "out")
    frame = pd.read_csv(tmp_path / "out" / "tuning.csv")
    assert list(frame.chosen) == [False, True, False, False, True, False]
    assert list(frame.converged.fillna("")) == ["", "", "", False, True, False]
    assert frame.tune_perplexity[1] == pytest.approx(54.5982, abs=1e-4)  # exp(4)
    text = (tmp_path / "out" / "tuning.md").read_text()
    assert "diverged" in text and "not converged" in text
    assert "operators is not a fair choice yet: the preset has other values" in text


def test_a_missing_trial_or_file_is_named(project: Project, tmp_path: Path) -> None:
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0]})
    with pytest.raises(BadInput, match="operators/3"):
        tuning_facts(project, "tuning", runs)
    with pytest.raises(BadInput, match=r"trials/paper\.tsv: no such file"):
        tuning_facts(load_project("paper", CONFIG), "tuning", runs)


@pytest.mark.skipif(not COMMITTED.exists(), reason="no trials of the laptop preset are committed")
def test_the_values_of_the_laptop_preset_come_from_fair_trials() -> None:
    frame, project = pd.read_csv(COMMITTED), load_project("laptop", CONFIG)
    trials = [trial for trials in project.trials.values() for trial in trials]
    assert [(t.rates, t.number) for t in trials] == list(zip(frame.rates, frame.trial, strict=True))
    assert set(project.preset.rates) == set(project.trials)
    assert frame.groupby("rates").size().nunique() == 1
    for name, own in frame.groupby("rates"):
        in_preset = project.preset.rates[name].model_dump(exclude_none=True)
        [(_, best)] = own[own.chosen].iterrows()
        settled = own[own.converged == own.converged.max()] if own.converged.any() else own
        assert best.tune_loss == settled.tune_loss.min()
        assert {rate: best[rate] for rate in in_preset} == in_preset
        for rate, value in in_preset.items():
            tried = own[rate].unique()
            assert len(tried) == 1 or min(tried) < value < max(tried), f"{name}: {rate} at the edge"
