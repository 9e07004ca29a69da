"""Shearing runs on the smoke preset's model: from masks to a model, and to what starts from it."""

from __future__ import annotations

import csv
import json
import math
from math import prod

import pytest
import torch
from logged import values_of
from replanned import replanned

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.learning.run import learn
from lemon.methods.build import build
from lemon.operators.file import load_operators
from lemon.operators.fuse import fuse

CPU = torch.device("cpu")


def of_target(project, run_id, target):
    """The project with another target, and perhaps radii, for one run."""
    return replanned(project, project.run(run_id).row.model_copy(update=target))


def kept_layers(operators):
    return operators.gamma["q"].chosen.tolist()


@pytest.fixture(scope="module")
def sheared(learning_world, tmp_path_factory):
    project = learning_world.project(steps=24)
    out = tmp_path_factory.mktemp("sheared") / "shear-75"
    learn(project, "shear-75", learning_world.source, learning_world.text, out)
    return project, out


def test_a_run_leaves_its_selection_weights_and_masks(sheared):
    _, out = sheared
    assert {path.name for path in out.iterdir()} == {
        "operators.safetensors",
        "trained_source",
        "masks.csv",
        "config.yaml",
        "metrics.jsonl",
        "manifest.json",
    }
    operators, _ = load_operators(out / "operators.safetensors")
    layers = kept_layers(operators)
    assert len(layers) == 4 == len(set(layers))
    assert all(operators.gamma[t].chosen.tolist() == layers for t in LAYER_TYPES)
    with (out / "masks.csv").open() as file:
        assert [int(row["unit"]) for row in csv.DictReader(file) if row["kept"] == "1"] == layers
    assert json.loads((out / "manifest.json").read_text())["settings"]["pruning"]


def test_the_exported_gates_are_those_of_the_lower_loss_on_the_tune_text(sheared):
    _, out = sheared
    manifest = json.loads((out / "manifest.json").read_text())
    losses = manifest["export"]["tune_loss"]
    assert losses["folded"] != losses["open"]
    assert manifest["export"]["gates"] == min(losses, key=losses.get)
    last = values_of(out, "tune/perplexity")[-1]
    assert losses["folded"] == pytest.approx(math.log(last), rel=1e-9)
    with (out / "masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    gates = manifest["gates"]["layer"]
    kept = [float(row["gate"]) for row in rows if row["kept"] == "1"]
    assert gates["smallest_kept_gate"] == pytest.approx(min(kept), rel=1e-5)
    keep = [float(row["keep_probability"]) for row in rows]
    assert gates["sparsity"] == pytest.approx(1 - sum(keep) / len(keep), abs=1e-5)


def test_the_sparsity_rises_and_the_mixture_moves(sheared):
    _, out = sheared
    sparsity = values_of(out, "masks/layer/sparsity")
    assert len(sparsity) == 24
    assert sparsity[-1] > sparsity[0]
    weights = values_of(out, "mixture/prose")
    assert len(weights) == 8  # every third step
    assert len(set(weights)) > 1
    for step in range(8):
        total = weights[step] + values_of(out, "mixture/numbers")[step]
        assert total == pytest.approx(1.0)
    assert not values_of(out, "train/kl")


def test_the_sheared_model_loads_at_the_targets_shape(sheared, tmp_path):
    project, out = sheared
    fuse(out / "trained_source", out / "operators.safetensors", tmp_path / "model")
    assert Checkpoint(tmp_path / "model").shape == project.run("shear-75").target_shape


@pytest.mark.parametrize("target", ["width-62", "small"])
def test_every_axis_is_pruned_to_its_target(learning_world, tmp_path, target):
    project = of_target(learning_world.project(steps=6), "shear-75", {"target": target})
    out = tmp_path / "run"
    learn(project, "shear-75", learning_world.source, learning_world.text, out)
    fuse(out / "trained_source", out / "operators.safetensors", tmp_path / "model")
    assert Checkpoint(tmp_path / "model").shape == project.run("shear-75").target_shape
    structures = {row["structure"] for row in csv.DictReader((out / "masks.csv").open())}
    assert structures == {"hidden", "head", "ffn"} | ({"layer"} if target == "small" else set())


def test_the_selection_is_that_of_the_masks_with_the_sources_weights(
    sheared, learning_world, tmp_path
):
    project, out = sheared
    own = tmp_path / "shear-selection-75"
    build(project, "shear-selection-75", learning_world.source, own, start=out)
    fuse(learning_world.source, own / "operators.safetensors", tmp_path / "model")
    operators, _ = load_operators(out / "operators.safetensors")
    source, model = Checkpoint(learning_world.source), Checkpoint(tmp_path / "model")
    for i, j in enumerate(kept_layers(operators)):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(model.tensor(name.format(i)), source.tensor(name.format(j)))


def test_lemon_prune_starts_from_the_selection(sheared, learning_world, tmp_path):
    project, out = sheared
    slow = project.preset.learning.model_copy(update={"layer_rate": 1e-9, "norm_rate": 1e-9})
    project = replanned(project, preset=project.preset.model_copy(update={"learning": slow}))
    own = tmp_path / "lemon-prune-75"
    source, text = learning_world.source, learning_world.text
    learn(project, "lemon-prune-75", source, text, own, start=out)
    start, _ = load_operators(out / "operators.safetensors")
    learned, metadata = load_operators(own / "operators.safetensors")
    for type in LAYER_TYPES:
        # 24 steps of Adam, each of a rate at most
        torch.testing.assert_close(
            learned.gamma[type].dense(), start.gamma[type].dense(), atol=24e-9, rtol=0
        )
    assert metadata.source_digest == Checkpoint(source).digest()
    assert json.loads((own / "manifest.json").read_text())["inputs"]["start"]


def test_with_receptive_fields_the_source_is_permuted_first(learning_world, tmp_path):
    """The same small model, bit for bit, out of operators with a quarter of the entries."""
    project = of_target(learning_world.project(steps=6), "shear-75", {"target": "small"})
    source, out = learning_world.source, tmp_path / "shear"
    learn(project, "shear-75", source, learning_world.text, out)
    models = []
    for radii in (None, "128-2"):
        changes = {"target": "small", "radii": radii}
        variant = of_target(project, "shear-selection-75", changes)
        own = tmp_path / str(radii)
        build(variant, "shear-selection-75", source, own, start=out)
        weights = variant.run("shear-selection-75").own_weights
        assert weights == (None if radii is None else "permuted_source")
        fuse(own / weights if weights else source, own / "operators.safetensors", own / "model")
        models.append(Checkpoint(own / "model"))
    entries = [
        sum(prod(factor.shape) for _, factor in load_operators(file)[0].named_factors())
        for file in (tmp_path / str(r) / "operators.safetensors" for r in (None, "128-2"))
    ]
    assert entries[1] < entries[0] / 3
    for name in models[0].specs:
        assert torch.equal(models[0].tensor(name), models[1].tensor(name)), name


def test_a_start_of_another_target_is_refused(sheared, learning_world, tmp_path):
    project, out = sheared
    with pytest.raises(BadInput, match="name a start of the same target"):
        build(project, "shear-selection-50", learning_world.source, tmp_path, start=out)
