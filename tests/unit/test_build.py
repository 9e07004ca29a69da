"""`lemon build`: a row of runs.tsv to an operators file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models import write_tiny_model
from ruamel.yaml import YAML

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods.build import build, start_operators
from lemon.operators.file import load_operators


@pytest.fixture(scope="module")
def source(smoke, tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("smoke"), **smoke.source_shape().sizes())


@pytest.mark.parametrize("run_id", ["cut-75", "random-50-s1", "average-75"])
def test_writes_operators_config_and_manifest(smoke, source, tmp_path, run_id):
    build(smoke, run_id, source, tmp_path)
    operators, metadata = load_operators(tmp_path / "operators.safetensors")
    digest = Checkpoint(source).digest()
    assert operators.target == smoke.run(run_id).target_shape
    assert metadata.method == smoke.run(run_id).row.method
    assert metadata.source_digest == digest
    config = YAML(typ="safe").load(tmp_path / "config.yaml")
    assert config["run"]["id"] == run_id
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["stage"] == "build"
    assert manifest["seed"] == smoke.run(run_id).seed
    assert manifest["inputs"] == {"source": digest}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_learned_run_starts_from_its_start_column(smoke, source):
    checkpoint = Checkpoint(source)
    learned = start_operators(smoke.run("lemon-cut-75"), checkpoint)
    start = start_operators(smoke.run("cut-75"), checkpoint)
    assert all(learned.gamma[type].dense().equal(start.gamma[type].dense()) for type in start.gamma)


def test_a_source_of_other_sizes_than_the_presets_is_refused(smoke, tiny_model_folder, tmp_path):
    with pytest.raises(BadInput, match="is not of the sizes of the preset's source: "):
        build(smoke, "cut-75", tiny_model_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
