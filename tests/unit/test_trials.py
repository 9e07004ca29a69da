"""Trials of rates: how they are read, what they change, and what a mistake in the file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from learning_world import LearningWorld

from lemon.cli import main
from lemon.configuration.load import load_project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import COLUMNS
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import read_manifest
from lemon.files.storage import LOCK
from lemon.learning.run import learn
from lemon.pretraining.run import pretrain

RUN = "lemon-cut-75"
RATE_OF_NORMS = "train/rate_norm"


def line(rates: str, run: str, **values: object) -> str:
    """One line of the file."""
    cells = {"rates": rates, "run": run, **values}
    return "\t".join(str(cells.get(column, "-")) for column in COLUMNS)


def write_trials(config: Path, *lines: str) -> None:
    text = "\n".join(["\t".join(COLUMNS), *lines]) + "\n"
    (config / "trials" / "smoke.tsv").write_text(text)


def test_a_trial_changes_the_runs_of_its_rates_alone(config: Path) -> None:
    lines = [line("operators", RUN, layer_rate=rate, norm_rate=0.25) for rate in (1, 2, 4)]
    write_trials(config, *lines, line("shear", "shear-75", mask_rate=8))
    project = load_project("smoke", config)
    assert [len(trials) for trials in project.trials.values()] == [3, 1]
    second = project.trials_of("operators")[1]
    assert (second.number, second.run) == (2, RUN)
    tried = project.trying(second)
    assert tried.run(RUN).learning.layer_rate == 2.0
    assert tried.run("lemon-random-50").learning.norm_rate == 0.25
    changed = {
        run.id for run in tried.runs.values() if run.learning != project.runs[run.id].learning
    }
    assert changed == {run.id for run in project.runs.values() if run.row.rates == "operators"}
    for untouched in ("lemon-prune-75", "shear-75", "cut-tuned-75", "lemon-width-2-2"):
        assert tried.run(untouched).learning == project.run(untouched).learning


def test_a_trial_may_be_of_the_run_of_another_seed(config: Path) -> None:
    """LEMON-Prune of another seed starts from its own Shear."""
    several = (RUN, f"{RUN}-s1", f"{RUN}-s2")
    lines = [line("operators", run, layer_rate=1, warmup_ratio=0.5) for run in several]
    pruned = ("lemon-prune-75", "lemon-prune-75-s1")
    lines += [line("operators-pruned", run, layer_rate=1) for run in pruned]
    write_trials(config, *lines)
    project = load_project("smoke", config)
    assert [trial.run for trial in project.trials_of("operators")] == list(several)
    tried = project.trying(project.trials_of("operators")[2])
    assert tried.run(several[2]).learning.warmup_ratio == 0.5
    assert tried.run("lemon-prune-75").learning.warmup_ratio == project.preset.learning.warmup_ratio
    keys = {stage_params(project, "trial", f"operators/{k}") for k in (1, 2, 3)}
    assert len(keys) == 3
    write_trials(config, *lines, line("operators", RUN, layer_rate=1, warmup_ratio=0.5))
    with pytest.raises(BadInput, match="repeats trial 1 of operators"):
        load_project("smoke", config)


def test_a_preset_without_the_file_has_no_trials(config: Path) -> None:
    project = load_project("paper", config)
    assert project.trials == {}
    with pytest.raises(BadInput, match=r"paper\.tsv: no trial of rates operators"):
        project.trials_of("operators")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["operators\tx"], "smoke.tsv:2: has 2 tab-separated cells, not 10"),
        ([line("operator", RUN, layer_rate=1)], "rates: no run of runs.tsv names 'operator', did"),
        ([line("operators", "cut-75", layer_rate=1)], "run: no run 'cut-75' has rates operators"),
        ([line("operators", RUN, layer_rate="x")], "layer_rate: must be a number, not 'x'"),
        ([line("operators", RUN, layer_rate="nan")], "layer_rate"),
        ([line("operators", RUN, layer_rate=-1)], "layer_rate"),
        ([line("operators", RUN)], "tries no rate; give at least one"),
        ([line("operators", RUN, mask_rate=1)], "mask_rate: lemon does not use it; write -"),
        ([line("operators", RUN, layer_rate=1)] * 2, "smoke.tsv:3: repeats trial 1 of operators"),
        (
            [line("operators", RUN, layer_rate=1), line("operators", "lemon-cut-50", layer_rate=1)],
            f"smoke.tsv:3 run: the trials of operators before this one are of {RUN}; name it, or a",
        ),
    ],
)
def test_a_mistake_is_one_line(config: Path, lines: list[str], message: str) -> None:
    write_trials(config, *lines)
    with pytest.raises(BadInput) as refusal:
        load_project("smoke", config)
    assert message in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2


def test_another_trial_is_another_job_and_its_place_is_not(config: Path) -> None:
    first, other = (line("operators", RUN, layer_rate=rate) for rate in (1, 2))
    write_trials(config, first, other)
    one, two = (
        stage_params(load_project("smoke", config), "trial", f"operators/{k}") for k in (1, 2)
    )
    assert one != two
    write_trials(config, other, first)
    assert stage_params(load_project("smoke", config), "trial", "operators/2") == one


def tried(world: LearningWorld, config: Path, rates: str, out: Path, *more: str) -> Path:
    """The folder of the first trial of these rates, as `lemon try` makes it."""
    command = ["try", "--preset", "smoke", "--rates", rates, "--trial", "1", "--out", str(out)]
    command += ["--source", str(world.source), "--text", str(world.text), *more]
    assert main(["--config", str(config), *command]) == 0
    return out


def test_a_trial_is_the_run_with_its_rates(
    learning_world: LearningWorld, config: Path, tmp_path: Path
) -> None:
    """Its loss is that of the same run learned by itself, and what was learned is removed."""
    write_trials(config, line("operators", RUN, layer_rate=0.02, norm_rate=0.004))
    project = load_project("smoke", config)
    [trial] = project.trials_of("operators")
    place = tried(learning_world, config, "operators", tmp_path / "trial")
    learn(project.trying(trial), RUN, learning_world.source, learning_world.text, tmp_path / "run")
    one, learned = (read_manifest(folder / "manifest.json") for folder in (place, tmp_path / "run"))
    assert one["tune_loss"] == learned["tune_loss"]
    assert one["settings"]["values"] == {"layer_rate": 0.02, "norm_rate": 0.004}
    assert {path.name for path in place.iterdir()} == {LOCK, "manifest.json", "metrics.jsonl"}
    rates = {e["value"] for e in read_events(place / "metrics.jsonl") if e["name"] == RATE_OF_NORMS}
    assert max(rates) == 0.004


def test_a_trial_of_pre_training_is_that_of_its_run(
    learning_world: LearningWorld, config: Path, tmp_path: Path
) -> None:
    write_trials(config, line("scratch", "scratch-small", weight_rate=0.03))
    project = load_project("smoke", config)
    [trial] = project.trials_of("scratch")
    source, text = learning_world.source, learning_world.text
    place = tried(learning_world, config, "scratch", tmp_path / "trial", "--reference", str(source))
    pretrain(project.trying(trial), "scratch-small", source, text, tmp_path / "run", source)
    one, trained = (read_manifest(folder / "manifest.json") for folder in (place, tmp_path / "run"))
    assert one["tune_loss"] == trained["tune_loss"]
    assert {path.name for path in place.iterdir()} == {LOCK, "manifest.json", "metrics.jsonl"}
    assert project.run("scratch-small").pretraining.weight_rate != 0.03
    assert "pretrain_version" in stage_params(project, "trial", "scratch/1")


def test_a_trial_that_diverges_is_a_result(
    learning_world: LearningWorld, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lemon.learning import trainee

    real = trainee.distillation_loss

    def broken(*arguments: object, **options: object) -> object:
        losses = real(*arguments, **options)
        return losses._replace(total=losses.total * float("nan"))

    monkeypatch.setattr(trainee, "distillation_loss", broken)
    write_trials(config, line("operators", RUN, layer_rate=0.02))
    place = tried(learning_world, config, "operators", tmp_path / "trial")
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["tune_loss"] is None
    assert "diverged at step 1" in manifest["diverged"]
