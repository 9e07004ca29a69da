"""The table of trials: which trial is chosen, and what makes a choice unfair."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated_runs import write_trial
from replanned import replanned

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.configuration.trials import COLUMNS, RATES
from lemon.errors import BadInput
from lemon.reporting.facts.gates import Gates, gates_of
from lemon.reporting.facts.tuning import TIE, TunedRates, tuning_facts
from lemon.reporting.tables.table import write_table

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
COMMITTED = ROOT / "results" / "laptop" / "tables" / "tuning.csv"
GATES = {"largest_dropped_gate": 0.0, "target_sparsity": 0.25}
EXPORT = {"gates": "open", "tune_loss": {"folded": 9.0, "open": 9.0}}


def write_results(folder: Path, project: Project, losses: dict[str, list[Any]]) -> Path:
    """A folder of runs with trials that ended at these losses; (loss, sparsity, gate) if pruned."""
    for rates, ends in losses.items():
        for trial, end in zip(project.trials_of(rates), ends, strict=False):
            loss, facts = end, {}
            if isinstance(end, tuple):
                loss, sparsity, gate = end
                layer = {**GATES, "sparsity": sparsity, "smallest_kept_gate": gate}
                facts = {"gates": {"layer": layer}, "export": EXPORT}
            write_trial(project, trial, folder, tune_loss=loss, **facts)
    return folder


@pytest.fixture
def project() -> Project:
    """Three trials of operators, at layer rates that rise, and of shear."""
    return load_project("smoke", CONFIG)


def tuned(project: Project, runs: Path) -> dict[str, TunedRates]:
    return {one.name: one for one in tuning_facts(project, "tuning", runs).rates}


def test_the_lowest_loss_is_chosen_whatever_the_gates(project: Project, tmp_path: Path) -> None:
    shear = [(None, 0.25, 0.99), (3.0, 0.2490, 0.91), (2.5, 0.2, 0.3)]
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0, None], "shear": shear})
    found = tuned(project, runs)
    assert [found[name].best.results[0].trial.number for name in ("operators", "shear")] == [2, 3]
    assert found["operators"].at_the_edge == []
    assert found["operators"].fixed == ["norm_rate"]
    assert found["shear"].at_the_edge == ["mask_rate", "multiplier_rate"]
    assert [one.gates.converged for one in found["shear"].results] == [True, True, False]


@pytest.mark.parametrize(("middle", "chosen"), [(4.0049, 2), (4.0051, 3)])
def test_a_tie_inside_the_grid_is_chosen_before_its_edge(
    project: Project, tmp_path: Path, middle: float, chosen: int
) -> None:
    runs = write_results(tmp_path, project, {"operators": [5.0, middle, 4.0], "shear": [1.0] * 3})
    assert tuned(project, runs)["operators"].best.results[0].trial.number == chosen


def retried(config: Path, *lines: tuple[object, ...]) -> Project:
    """The smoke preset with trials (run, layer_rate, warmup_ratio) of operators."""
    cells = {column: "-" for column in COLUMNS} | {"rates": "operators", "norm_rate": "0.0005"}
    rows = [
        {**cells, "run": run, "layer_rate": rate, "warmup_ratio": share}
        for run, rate, share in lines
    ]
    text = ["\t".join(COLUMNS), *("\t".join(map(str, row.values())) for row in rows)]
    (config / "trials" / "smoke.tsv").write_text("\n".join(text) + "\n")
    return load_project("smoke", config)


def test_the_mean_over_the_seeds_decides(config: Path, tmp_path: Path) -> None:
    """0.005 has the lowest loss with seed 0, 2.9; the mean of 0.002 is lower, 3.25 against 3.5."""
    ones = [("lemon-cut-75", rate, "-") for rate in (0.002, 0.005, 0.01, 0.001)]
    twos = [("lemon-cut-75-s1", rate, "-") for rate in (0.002, 0.005)]
    project = retried(config, *ones, *twos)
    losses = {"operators": [3.0, 2.9, 4.0, 5.0, 3.5, 4.1]}
    found = tuned(project, write_results(tmp_path, project, losses))["operators"]
    assert [one.values["layer_rate"] for one in found.finalists] == [0.002, 0.005]
    assert [one.loss for one in found.finalists] == [3.25, 3.5]
    assert found.best is not None and found.best.values["layer_rate"] == 0.002
    assert [one.seed for one in found.best.results] == [0, 1]
    assert found.faults(most_tried=4) == ["the preset has other values than the best trial"]
    assert "4 rates tried, others have 5" in found.faults(most_tried=5)


def test_a_seed_that_diverged_and_finalists_that_were_not_the_best(
    config: Path, tmp_path: Path
) -> None:
    ones = [("lemon-cut-75", rate, "-") for rate in (0.002, 0.005, 0.01)]
    project = retried(config, *ones, ("lemon-cut-75-s1", 0.01, "-"))
    found = tuned(project, write_results(tmp_path, project, {"operators": [3.0, 2.9, 4.0, 4.0]}))
    assert "the rates with the lowest loss of one seed were not tried with the others" in found[
        "operators"
    ].faults(3)
    runs = write_results(tmp_path, project, {"operators": [3.0, 2.9, 4.0, None]})
    assert tuned(project, runs)["operators"].best is None


def test_what_a_trial_leaves_out_is_that_of_the_section(config: Path, tmp_path: Path) -> None:
    """So trials without a warm-up stand beside those of other warm-ups, in one grid."""
    lines = [("lemon-cut-75", 0.005, share) for share in ("-", 0.05, 0.4)]
    project = retried(config, *lines)
    found = tuned(project, write_results(tmp_path, project, {"operators": [3.0, 3.1, 3.2]}))
    own = found["operators"]
    section = project.preset.learning.warmup_ratio
    assert [one.values["warmup_ratio"] for one in own.results] == [section, 0.05, 0.4]
    assert own.at_the_edge == [] and own.fixed == ["layer_rate", "norm_rate"]
    assert own.in_preset["warmup_ratio"] == section


def test_what_makes_a_choice_unfair(project: Project, tmp_path: Path) -> None:
    runs = write_results(tmp_path, project, {"operators": [3.0, 2.0, 1.0], "shear": [None] * 3})
    found = tuned(project, runs)
    assert found["operators"].faults(most_tried=3) == [
        "the best layer_rate is at the edge of its grid",
        "the preset has other values than the best trial",
    ]
    assert "3 rates tried, others have 4" in found["operators"].faults(most_tried=4)
    assert found["shear"].faults(most_tried=3) == ["every trial diverged"]
    assert found["weights"].faults(most_tried=3) == ["not tried"]


def test_a_trial_of_other_settings_is_refused(project: Project, tmp_path: Path) -> None:
    runs = write_results(tmp_path, project, {"operators": [3.0, 2.0, 1.0], "shear": [1.0] * 3})
    steps = project.preset.model_copy(update={"budgets": {**project.preset.budgets, "fusion": 9}})
    with pytest.raises(BadInput, match="is not of trial operators/1 as the preset has it now"):
        tuning_facts(replanned(project, preset=steps), "tuning", runs)
    first, second = (runs / trial.folder for trial in project.trials_of("operators")[:2])
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(BadInput, match="is not of trial operators/1 as the preset has it now"):
        tuning_facts(project, "tuning", runs)


def test_the_structure_farthest_from_its_target_decides() -> None:
    """1 % of 0.5 is farther in points than 3 % of 0.1, but not in parts of the target."""
    layer, ffn = (
        {
            "sparsity": s,
            "target_sparsity": t,
            "smallest_kept_gate": 0.99,
            "largest_dropped_gate": 0.0,
        }
        for s, t in ((0.504, 0.5), (0.103, 0.1))
    )
    found = gates_of({"gates": {"layer": layer, "ffn": ffn}, "export": EXPORT})
    assert found is not None and (found.sparsity, found.converged) == (0.103, False)


@pytest.mark.parametrize(
    ("sparsity", "gate", "converged"),
    [(0.2476, 0.91, True), (0.2474, 0.91, False), (0.2524, 0.91, True), (0.25, 0.9, False)],
)
def test_gates_settle_within_one_percent_and_above_nine_tenths(
    sparsity: float, gate: float, converged: bool
) -> None:
    assert Gates(sparsity, 0.25, gate, 0.0, "open").converged is converged


def test_the_table_marks_the_chosen_and_what_did_not_settle(
    project: Project, tmp_path: Path
) -> None:
    shear = [(2.0, 0.20, 0.99), (3.0, 0.25, 0.95), (2.5, 0.25, 0.89)]
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0, None], "shear": shear})
    write_table(project, "tuning", runs, tmp_path / "out")
    frame = pd.read_csv(tmp_path / "out" / "tuning.csv")
    assert list(frame.chosen) == [False, True, False, True, False, False]
    assert list(frame.converged.fillna("")) == ["", "", "", False, True, False]
    assert frame.tune_perplexity[1] == pytest.approx(54.5982, abs=1e-4)  # exp(4)
    assert frame.seconds[0] == 40  # the last event: 20 steps of 2 s
    text = (tmp_path / "out" / "tuning.md").read_text()
    assert "****" not in text  # an empty cell of the chosen trial
    assert "diverged" in text and "not converged" in text
    assert "operators is not a fair choice yet" not in text
    assert "shear is not a fair choice yet: the best mask_rate is at the edge of its grid" in text
    assert "weights is not a fair choice yet: not tried" in text


def test_a_missing_trial_or_file_is_named(project: Project, tmp_path: Path) -> None:
    runs = write_results(tmp_path, project, {"operators": [5.0, 4.0]})
    with pytest.raises(BadInput, match="operators/3"):
        tuning_facts(project, "tuning", runs)
    with pytest.raises(BadInput, match=r"trials/paper\.tsv: lists no trial"):
        tuning_facts(load_project("paper", CONFIG), "tuning", runs)


@pytest.mark.skipif(not COMMITTED.exists(), reason="no trials of the laptop preset are committed")
def test_the_values_of_the_laptop_preset_come_from_fair_trials() -> None:
    frame, project = pd.read_csv(COMMITTED), load_project("laptop", CONFIG)
    trials = [trial for name in frame.rates.unique() for trial in project.trials_of(name)]
    assert len(trials) == len(project.every_trial)
    assert [(t.rates, t.run, t.number) for t in trials] == list(
        zip(frame.rates, frame.run, frame.trial, strict=True)
    )
    columns = [rate for rate in RATES if rate in frame]
    for trial, line in zip(trials, frame[columns].to_dict("records"), strict=True):
        run, given = project.trying(trial).run(trial.run), trial.rates_in_numbers
        for rate, shown in line.items():
            own = getattr(run.training, rate, None) or getattr(run.pruning, rate, None)
            assert shown == own or (pd.isna(shown) and rate not in given)
    rates = frame.groupby(["rates", *columns], dropna=False)
    frame["mean_loss"] = rates.tune_loss.transform("mean")
    frame["num_seeds"] = rates.tune_loss.transform("size")
    counts = frame.drop_duplicates(["rates", *columns]).groupby("rates").size()
    stages = {
        name: project.run(project.trials_of(name)[0].run).method.stage for name in counts.index
    }
    assert (counts.groupby(stages).nunique() == 1).all()
    for name, own in frame.groupby("rates"):
        best = own[own.chosen].iloc[0]
        finalists = own[own.num_seeds == own.num_seeds.max()]
        assert len(own[own.chosen]) == best.num_seeds == own.num_seeds.max()
        assert best.mean_loss - finalists.mean_loss.min() < TIE
        run = project.run(project.trials_of(name)[0].run)
        for rate in (rate for rate in columns if not pd.isna(best[rate])):
            section = run.training if hasattr(run.training, rate) else run.pruning
            assert getattr(section, rate) == best[rate]
            tried = own[rate].unique()
            inside = min(tried) < best[rate] < max(tried)
            assert len(tried) == 1 or inside, f"{name}: {rate} at the edge"
