"""The real model, and Table 3 on its text and benchmark rows in short: few steps, few rows."""

import csv
import json
import os

import numpy as np
import pytest
from few_runs import keep_runs
from layer_similarity import cka_off, debiased, plain
from workspaces import copy_workflow

from lemon.architecture import layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.operators.file import load_operators
from lemon.similarity.cka import cka_matrices

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.assets]

RUNS = ["source", "cut-75", "lemon-prune-75"]  # the last one starts from shear-75
ROWS = 2


def shorten(space) -> None:
    """Few short steps, few rows and runs; the model and the assets stay those of the preset."""

    def fewer(values):
        values["budgets"].update(fusion=2, pruning=2)
        values["pruning"]["loading"]["update_every"] = 1
        values["evaluation"]["limit"] = ROWS
        values["text"].update(sequence_length=128, train_sequences=40, heldout_sequences=1)
        values["learning"].update(tune_sequences=1, batch_sequences=1, microbatch_sequences=1)

    space.change_preset(fewer)
    keep_runs(space.path / "config", "table3", RUNS)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    space = copy_workflow(tmp_path_factory.mktemp("short"))
    space.preset = "laptop"
    shorten(space)
    fetched = space.snakemake("fetch")
    if fetched.returncode and not os.environ.get("CI"):
        said = fetched.stdout.splitlines()[-1]
        pytest.skip(f"`lemon fetch --preset laptop` must work once, with a network: {said}")
    done = space.snakemake("table3", timeout=1500)
    assert done.returncode == 0, done.stdout
    return space


def test_every_run_is_scored_on_every_task(short):
    with (short.path / "results/laptop/tables/table3.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["value"]]
    tasks = {"sciq", "piqa", "winogrande", "arc_easy", "logiqa"}
    for run in RUNS:
        scored = {row["task"]: row for row in rows if row["run"] == run}
        assert tasks <= set(scored), run
        assert {int(scored[task]["n"]) for task in tasks} == {ROWS}


def test_the_real_source_model_predicts_text_well(short):
    """A conversion error would show here first: a broken model is off by orders."""
    perplexity = {
        run: json.loads((short.path / f"runs/laptop/{run}/outcomes/perplexity.json").read_text())
        for run in RUNS
    }
    assert perplexity["source"]["perplexity"] < 60
    assert perplexity["cut-75"]["perplexity"] > 10 * perplexity["source"]["perplexity"]


def test_the_source_model_is_the_packaged_one(short):
    """It completes a sentence as the preset says."""
    source = short.path / "data/laptop/source"
    assert "Paris" in json.loads((source / "manifest.json").read_text())["completion"]
    assert Checkpoint(source).shape.num_parameters == 134_515_008


@pytest.mark.parametrize("type", ["k", "o"])
def test_layer_similarity_of_its_weights_equals_the_formula(type, short):
    source = Checkpoint(short.path / "data/laptop/source")
    computed = cka_matrices(source, f"{type}_proj")
    layers = []
    for layer in range(0, source.shape.num_hidden_layers, 7):
        weight = source.tensor(layer_tensor_name(type, layer)).double().numpy()
        layers.append(weight if type == "o" else weight.T)
    for estimator, measure in (("plain", plain), ("debiased", debiased)):
        expected = [[measure(x, y) for y in layers] for x in layers]
        allowed = cka_off(np.stack(layers), estimator)
        assert (np.abs(computed[estimator][::7, ::7] - expected) <= allowed).all()


def gamma(short, run):
    """The layer operators of a run as matrices, by layer type."""
    operators, _ = load_operators(short.path / f"runs/laptop/{run}/operators.safetensors")
    return {layer_type: factor.dense() for layer_type, factor in operators.gamma.items()}


def test_shear_meets_its_target_and_lemon_prune_starts_there(short):
    sheared, pruned = (gamma(short, run)["q"] for run in ("shear-75", "lemon-prune-75"))
    assert sheared.shape == (22, 30)
    assert set(sheared.flatten().tolist()) == {0.0, 1.0}
    assert (sheared.sum(dim=1) == 1).all() and (sheared.sum(dim=0) <= 1).all()
    assert 0 < (pruned - sheared).abs().max() < 0.1
