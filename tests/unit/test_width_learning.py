"""Runs over widths, and in two stages, on the smoke preset's model."""

from __future__ import annotations

import json

import pytest
import torch
from logged import values_of
from replanned import replanned
from roundoff import logits_off
from transformers import AutoModelForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.learning.assembly import assemble
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.run import learn
from lemon.methods.build import start_operators
from lemon.operators.file import load_operators, save_operators
from lemon.operators.fuse import fuse

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
WIDE, DEEP = "lemon-width-small", "lemon-cut-75"


def run_and_fuse(world, project, run, folder, source=None, **options):
    """Learn a run and fuse its model; returns the model's folder."""
    source = source or world.source
    out = folder / run
    learn(project, run, source, world.text, out, **options)
    own = project.run(run).own_weights
    fuse(out / own if own else source, out / "operators.safetensors", out / "model")
    return out / "model"


@pytest.fixture(scope="module")
def learned(learning_world, tmp_path_factory):
    project = learning_world.project(steps=24)
    folder = tmp_path_factory.mktemp("learned")
    for run in (WIDE, DEEP):
        run_and_fuse(learning_world, project, run, folder)
    return project, folder


def test_learning_lowers_loss_and_perplexity_and_moves_every_family(learned, learning_world):
    project, folder = learned
    out = folder / WIDE
    loss, perplexity = (values_of(out, n) for n in ("train/loss", "tune/perplexity"))
    assert sum(loss[-5:]) < sum(loss[:5])
    assert perplexity[-1] < perplexity[0]
    operators, _ = load_operators(out / "operators.safetensors")
    assert not operators.gamma
    assert operators.hidden.shape == (16, 32)
    assert len(operators.attn) == len(operators.ffn) == 6
    start = start_operators(project.run(WIDE), Checkpoint(learning_world.source))
    for (name, old), (_, new) in zip(start.named_factors(), operators.named_factors(), strict=True):
        assert not torch.equal(old.dense(), new.dense()), name


def test_the_exported_model_computes_what_the_student_computed(learned, learning_world):
    project, folder = learned
    source = Checkpoint(learning_world.source)
    start = start_operators(project.run(WIDE), source)
    student = assemble(project.run(WIDE), project.preset, source, CPU, start).student
    operators, _ = load_operators(folder / WIDE / "operators.safetensors")
    student.fusion = DimensionFusion(operators, CPU, tied=True)
    tokens = torch.arange(40).view(2, 20)
    model = AutoModelForCausalLM.from_pretrained(folder / WIDE / "model", dtype=torch.float32)
    with torch.no_grad():
        logits = student(tokens) @ student.head_weight().T
        expected = model(tokens).logits
    allowed = 2 * logits_off(model, tokens)  # the student fuses the weights in other sums
    torch.testing.assert_close(logits, expected, atol=allowed, rtol=0)


@pytest.mark.parametrize(
    ("run", "first"), [("lemon-small-width-first", WIDE), ("lemon-small-depth-first", DEEP)]
)
def test_two_stages_in_either_order_end_at_the_same_shape(
    learned, learning_world, tmp_path, run, first
):
    project, folder = learned
    middle = folder / first / "model"
    assert project.run(run).first_stage is project.run(first)
    model = run_and_fuse(
        learning_world, project, run, tmp_path, source=middle, teacher=learning_world.source
    )
    assert Checkpoint(model).shape == project.run(run).target_shape
    inputs = json.loads((tmp_path / run / "manifest.json").read_text())["inputs"]
    assert inputs["source"] == Checkpoint(middle).digest()
    assert inputs["teacher"] == Checkpoint(learning_world.source).digest()
    perplexity = values_of(tmp_path / run, "tune/perplexity")
    assert perplexity[-1] < perplexity[0]


def test_a_second_stage_wants_the_model_of_its_first(learning_world, tmp_path):
    project = learning_world.project(steps=2)
    with pytest.raises(
        BadInput,
        match=r"not of the sizes of the model of run lemon-width-small: .*; give that model",
    ):
        learn(
            *(project, "lemon-small-width-first", learning_world.source, learning_world.text),
            tmp_path,
            teacher=learning_world.source,
        )


def test_lemon_prune_starts_at_the_selection_over_a_permuted_source(learning_world, tmp_path):
    """At a rate of nothing the model is the hand-sliced one: Shear's selection, bit for bit."""
    project = learning_world.project(steps=6, dimension_rate=1e-30)
    shear = run_and_fuse(learning_world, project, "shear-width", tmp_path).parent
    model = run_and_fuse(learning_world, project, "lemon-prune-width", tmp_path, start=shear)
    fuse_selection = tmp_path / "selection"
    operators, _ = load_operators(shear / "operators.safetensors")
    save_operators(
        tmp_path / "selection.safetensors",
        operators,
        source_digest=Checkpoint(learning_world.source).digest(),
        method="shear-selection",
    )
    fuse(learning_world.source, tmp_path / "selection.safetensors", fuse_selection)
    expected, found = Checkpoint(fuse_selection), Checkpoint(model)
    for name in expected.specs:
        assert torch.equal(expected.tensor(name), found.tensor(name)), name


@pytest.mark.parametrize("run", ["cut-tuned-width", "lemon-trained-width"])
def test_weights_learn_under_widths(learning_world, tmp_path, run):
    project = learning_world.project(steps=4)
    method = "lemon-trained" if run.startswith("lemon") else "tuned"
    row = project.run("cut-tuned-width").row.model_copy(update={"id": run, "method": method})
    project = replanned(project, row)
    model = run_and_fuse(learning_world, project, run, tmp_path)
    assert Checkpoint(model).shape == project.run(run).target_shape
    operators, _ = load_operators(tmp_path / run / "operators.safetensors")
    start = start_operators(project.run(run), Checkpoint(learning_world.source))
    same = [
        torch.equal(a.dense(), b.dense())
        for (_, a), (_, b) in zip(start.named_factors(), operators.named_factors(), strict=True)
    ]
    assert all(same) if method == "tuned" else not any(same)
    before, after = (
        Checkpoint(learning_world.source),
        Checkpoint(tmp_path / run / "trained_source"),
    )
    kept = after.tensor("model.layers.0.mlp.up_proj.weight")
    was = before.tensor("model.layers.0.mlp.up_proj.weight")
    assert not torch.equal(kept[:64, :32], was[:64, :32])
    if method == "tuned":  # what is cut off has no gradient
        assert torch.equal(kept[64:], was[64:])
        assert torch.equal(kept[:, 32:], was[:, 32:])
