"""A model of the user's own, from a preset of a few lines to Table 3."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from few_runs import keep_runs
from own_models import FAMILIES, LLAMA3_ROPE, OTHERS, WHOLE_HEADS, save_model, write_preset
from transformers import AutoModelForCausalLM
from workspaces import REPOSITORY, Workspace, copy_workflow

from lemon.cli import main

RUNS = ("source", "cut-75", "lemon-cut-75")


@dataclass
class OwnModel:
    """A working folder with a model and its preset, in which commands run in this process."""

    path: Path
    family: str

    def lemon(self, *words: str) -> int:
        """The exit code of a command."""
        config = ("--config", str(self.path / "config"))
        return main([*config, *(word.replace("@", f"{self.path}/") for word in words)])

    def make_table(self) -> None:
        """Every step that the workflow takes to Table 3, one after another."""
        preset = ("--preset", "@mine.yaml")
        assets, source, text = "@assets.lock.json", "@data/source", "@data/text"
        given = (*preset, "--assets", assets)
        steps = [
            ("fetch", *preset, "--out", assets),
            ("prepare", "source", *given, "--out", source),
            ("prepare", "text", *given, "--source", source, "--out", text),
            ("prepare", "tasks", *given, "--out", "@data/tasks"),
            ("build", *preset, "--run", "cut-75", "--source", source, "--out", "@runs/cut-75"),
            (
                *("learn", *preset, "--run", "lemon-cut-75", "--source", source),
                *("--text", text, "--out", "@runs/lemon-cut-75"),
            ),
        ]
        for run in RUNS:
            model = source
            if run != "source":
                model, operators = f"@runs/{run}/model", f"@runs/{run}/operators.safetensors"
                steps.append(("fuse", "--source", source, "--operators", operators, "--out", model))
            steps.append(
                (
                    *("evaluate", "--model", model, "--tasks", "sciq,piqa,winogrande"),
                    *("--source", "@data/tasks", "--limit", "4", "--heldout", text),
                    *("--dtype", "float32", "--device", "cpu", "--batch-size", "8"),
                    *("--out", f"@runs/{run}/outcomes"),
                )
            )
        steps.append(
            (
                *("table", *preset, "--table", "table3", "--runs", "@runs", "--text", text),
                *("--out", "@results"),
            )
        )
        for step in steps:
            assert self.lemon(*step) == 0, step


@pytest.fixture(scope="module", params=FAMILIES)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OwnModel:
    """Table 3 of a model of each family."""
    path = tmp_path_factory.mktemp(request.param)
    shutil.copytree(REPOSITORY / "config", path / "config")
    keep_runs(path / "config", "table3", RUNS)
    more = WHOLE_HEADS if request.param == "qwen3" else ""
    model_folder = save_model(path / "model", request.param)
    preset = write_preset(path / "mine.yaml", model_folder, more=more)
    assert len(preset.read_text().splitlines()) <= 10
    model = OwnModel(path, request.param)
    model.make_table()
    return model


@pytest.mark.slow
def test_table3_is_made_of_a_model_of_ones_own(own: OwnModel) -> None:
    with (own.path / "results" / "table3.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["value"]]
    for run in RUNS:
        scored = {row["task"] for row in rows if row["run"] == run}
        assert {"sciq", "piqa", "winogrande"} <= scored
    assert "My model" in (own.path / "results" / "table3.md").read_text()


@pytest.mark.slow
def test_the_fused_model_is_of_the_sources_family(own: OwnModel) -> None:
    source = json.loads((own.path / "model" / "config.json").read_text())
    fused = json.loads((own.path / "runs/lemon-cut-75/model/config.json").read_text())
    layers = {"layer_types": ["full_attention"] * 4} if "layer_types" in source else {}
    assert fused == {**source, "num_hidden_layers": 4, "head_dim": 16, **layers}
    model = AutoModelForCausalLM.from_pretrained(own.path / "runs/lemon-cut-75/model")
    assert type(model).__name__ == f"{FAMILIES[own.family][0]}ForCausalLM"
    if own.family == "mistral":
        assert model.config.sliding_window == 256
    if own.family == "llama-3":
        assert model.config.rope_parameters == LLAMA3_ROPE


@pytest.mark.workflow
@pytest.mark.slow
def test_the_workflow_makes_table3_of_a_model_of_ones_own(tmp_path: Path) -> None:
    space: Workspace = copy_workflow(tmp_path)
    keep_runs(space.path / "config", "table3", ("source", "cut-75"))
    write_preset(space.path / "mine.yaml", save_model(space.path / "model", "mistral"))
    space.preset = "mine.yaml"
    done = space.snakemake("table3", timeout=900)
    assert done.returncode == 0, done.stdout
    assert (space.path / "results/mine/tables/table3.csv").is_file()
    again = space.snakemake("table3", "--dry-run")
    assert "Nothing to be done" in again.stdout
    (space.path / "model" / "model.safetensors").touch()
    assert "prepare_source" in space.snakemake("table3", "--dry-run").stdout


def test_radii_that_split_heads_with_gains_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that the preset has from its base, and those of a row that names none."""
    model = save_model(tmp_path / "model", "qwen3")
    preset = str(write_preset(tmp_path / "mine.yaml", model))
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    plan = ("--config", str(tmp_path / "config"), "plan", "--preset", preset, "--table", "table3")
    assert main([*plan]) == 2
    message = capsys.readouterr().err
    assert "the configuration has 1 mistake:" in message
    fault = "attention splits heads, whose 16 channels have gains that all heads share (q_norm, k_n"
    assert f"radii: 32-2, 32-4, 32-16, 2-2, 2-4, 2-16: {fault}" in message
    assert f"write into the preset {WHOLE_HEADS}" in message

    write_preset(tmp_path / "mine.yaml", model, more=WHOLE_HEADS)
    assert main([*plan]) == 0
    rows = tmp_path / "config" / "runs.tsv"
    named = "lemon-minitron-width\tlemon\tminitron-width\twidth-62\t"
    assert f"{named}2-2" in rows.read_text()
    rows.write_text(rows.read_text().replace(f"{named}2-2", f"{named}-"))
    capsys.readouterr()
    assert main([*plan]) == 2
    assert f"radii: without radii, {fault}" in capsys.readouterr().err


@pytest.mark.parametrize("family", OTHERS)
def test_other_architectures_are_refused_by_name(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = write_preset(tmp_path / "mine.yaml", save_model(tmp_path / "model", family))
    config = str(REPOSITORY / "config")
    assert main(["--config", config, "plan", "--preset", str(preset), "--table", "table3"]) == 2
    message = capsys.readouterr().err
    assert "the configuration has 1 mistake:" in message
    expected = f"mine.yaml:3 source.path: model_type is '{family}'; only models of the types llama"
    assert expected in message
