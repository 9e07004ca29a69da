"""The last line of `lemon doctor`: whether this machine can run the preset, and why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_models import save_model

from lemon import doctor
from lemon.configuration.load import load_project
from lemon.configuration.project import Project

CONFIG = Path(__file__).parents[2] / "config"
PARAMETERS = 134_515_008  # of SmolLM2-135M, its tied head counted once


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that has enough of everything, and nothing in its cache."""
    versions = {name: "1.0" for name in doctor.LIBRARIES}
    monkeypatch.setattr(doctor, "library_versions", lambda: versions)
    monkeypatch.setattr(doctor, "host", lambda: {"memory_bytes": 8 * 10**9})
    monkeypatch.setattr(doctor, "gpu_bytes", lambda: None)
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 10**12)
    monkeypatch.setattr(doctor, "matmul_rate", lambda dtype, device: 1e9)
    monkeypatch.setattr(doctor, "is_cached", lambda asset, cache: False)
    monkeypatch.setattr(doctor, "chosen_device", lambda wanted: "cpu")
    return monkeypatch


def test_a_machine_with_enough_of_everything_can(
    project: Project, machine: pytest.MonkeyPatch
) -> None:
    assert doctor.report(project).splitlines()[-1] == "can run laptop: yes"


def test_trained_weights_have_a_gradient_and_two_moments(project: Project) -> None:
    held = {run: doctor.least_memory(project, project.run(run)) for run in project.runs}
    assert held["shear-75"] == 4 * 4 * PARAMETERS  # of the source, which it prunes
    assert held["lemon-cut-75"] == 2 * PARAMETERS  # frozen, in bfloat16
    small = project.run("scratch-small").target_shape.num_parameters
    assert held["scratch-small"] == 4 * 4 * small < held["shear-75"]


def test_each_obstacle_is_told(project: Project, machine: pytest.MonkeyPatch) -> None:
    missing = {**dict.fromkeys(doctor.LIBRARIES, "1.0"), "mlflow": None}
    machine.setattr(doctor, "host", lambda: {"memory_bytes": 10**9})
    machine.setattr(doctor, "free_bytes", lambda folder: 10**6)
    machine.setattr(doctor, "library_versions", lambda: missing)
    line = doctor.report(project).splitlines()[-1]
    assert line.startswith(
        "can run laptop: no, because mlflow is not installed; `make` installs it"
    )
    assert "takes more than 2.2 GB of memory, and 1.0 are here (cpu)" in line
    assert "are to be written here, where 0.0 are free" in line
    assert "are to be written to the cache, where 0.0 are free" in line


def test_a_gpu_that_is_asked_for_must_be_there(
    project: Project, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(doctor, "chosen_device", lambda wanted: "cuda")
    assert list(doctor.obstacles(project)) == ["the preset asks for cuda, which is not here"]
    machine.setattr(doctor, "gpu_bytes", lambda: 10**9)
    (too_small,) = doctor.obstacles(project)
    assert "takes more than 2.2 GB of memory, and 1.0 are here (cuda)" in too_small


def test_a_folder_without_a_fast_tokenizer_is_told(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As of a model whose tokenizer is a `tokenizer.model` alone."""
    model, preset = save_model(tmp_path / "model", "llama"), tmp_path / "mine.yaml"
    preset.write_text(
        "base: smoke\ndescription: mine\n"
        f"source: {{label: Mine, kind: folder, path: {json.dumps(str(model))}}}\n"
    )
    mine = load_project(str(preset), CONFIG)
    assert list(doctor.obstacles(mine)) == []
    (model / "tokenizer.json").unlink()
    (fault,) = doctor.obstacles(mine)
    assert f"{model / 'tokenizer.json'}: " in fault and "save_pretrained(FOLDER)" in fault
