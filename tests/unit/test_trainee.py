"""Fused trainees: what trains at which rate, under which name, and their losses by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from learning_world import LearningWorld
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.learning.assembly import assemble
from lemon.learning.fusion import DepthFusion
from lemon.learning.trainee import FusedTrainee
from lemon.methods.build import start_operators
from lemon.operators.factor import Dense

CPU = torch.device("cpu")
SETTINGS = {
    "lm_weight": 0.3,
    "layer_rate": 0.01,
    "norm_rate": 0.001,
    "dimension_rate": 0.02,
    "weight_rate": 0.03,
    "loss_chunk_tokens": 7,
}
Assemble = Callable[..., FusedTrainee]


@pytest.fixture(scope="module")
def assembled(learning_world: LearningWorld) -> Assemble:
    """Assembles a run of the smoke preset in which each rate is another."""

    def assembled(run_id: str, teacher: Any = None, scale: float = 1.0) -> FusedTrainee:
        project = learning_world.project(steps=10, **SETTINGS)
        source = Checkpoint(learning_world.source)
        run, start = project.run(run_id), None
        if not run.method.prunes:
            start = start_operators(project.run(run_id), source)
            gamma = {type: Dense(scale * f.dense()) for type, f in start.gamma.items()}
            start = replace(start, gamma=gamma)
        return assemble(run, project.preset, source, CPU, start, teacher)

    return assembled


OUTSIDE = ["embedding", "final_norm"]
BY_LAYER = [f"weight.{n}" for n in OUTSIDE] + [
    f"weight.layers.{layer}.{type}" for layer in range(6) for type in sorted(LAYER_TYPES)
]
STACKED = [f"weight.{name}" for name in OUTSIDE + [f"layers.{t}" for t in sorted(LAYER_TYPES)]]
JOINED = [f"weight.{name}" for name in OUTSIDE + [f"layers.{layer}" for layer in range(6)]]
GAMMA = [
    ("layer", "learning.layer_rate", [f"gamma.{t}" for t in sorted(LAYER_TYPES) if "ln" not in t]),
    ("norm", "learning.norm_rate", ["gamma.ln1", "gamma.ln2"]),
]
WIDTHS = ["hidden", *(f"{side}.{layer}" for side in ("attn", "ffn") for layer in range(6))]
AXES = ["hidden", "head", "ffn"]


def gates(structures: list[str]) -> list[tuple[str, str, list[str]]]:
    multipliers = [f"multiplier.{kind}.{s}" for kind in ("linear", "quadratic") for s in structures]
    return [
        ("mask", "pruning.mask_rate", [f"log_alpha.{s}" for s in structures]),
        ("multiplier", "pruning.multiplier_rate", multipliers),
    ]


def weight(names: list[str]) -> tuple[str, str, list[str]]:
    return "weight", "learning.weight_rate", names


GROUPS = {
    "lemon-cut-75": GAMMA,
    "lemon-cut-trained-75": [*GAMMA, weight(STACKED)],
    "cut-tuned-50": [weight(BY_LAYER)],
    "lemon-width-2-2": [("dimension", "learning.dimension_rate", WIDTHS)],
    "cut-tuned-width": [weight(JOINED)],
    "shear-75": [weight(BY_LAYER), *gates(["layer"])],
    "shear-width": [weight(BY_LAYER), *gates(sorted(AXES))],
}


@pytest.mark.parametrize("run_id", GROUPS)
def test_what_trains_under_which_name_and_rate(run_id: str, assembled: Assemble) -> None:
    """The names and their order are those of checkpoints of every version."""
    trainee = assembled(run_id)
    found = [(one.name, one.setting, sorted(one.parameters)) for one in trainee.groups]
    assert found == [(name, setting, sorted(names)) for name, setting, names in GROUPS[run_id]]
    for group in trainee.groups:
        section, key = group.setting.split(".")
        known = SETTINGS if section == "learning" else {"mask_rate": 1.0, "multiplier_rate": 1.0}
        assert group.rate == known[key]
        assert group.ascends == (group.name == "multiplier")
        assert all(value.requires_grad for value in group.parameters.values())
    trained = {id(p) for group in trainee.groups for p in group.parameters.values()}
    for parameter in trainee.student.parameters():
        assert parameter.requires_grad == (id(parameter) in trained)


def some_tokens() -> Tensor:
    return torch.randint(500, (2, 9), generator=torch.Generator().manual_seed(3))


def log_probabilities(model: Any, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return log_softmax((model(inputs) @ model.head_weight().T).double(), -1).flatten(0, 1)


def test_the_losses_are_those_of_student_and_teacher(assembled: Assemble) -> None:
    trainee, tokens = assembled("lemon-cut-75"), some_tokens()
    inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()
    log_p = log_probabilities(trainee.student, inputs)
    log_q = log_probabilities(trainee.teacher, inputs)
    lm = cross_entropy(log_p, labels).item()
    kl = kl_div(log_p, log_q, log_target=True, reduction="batchmean").item()
    found = trainee.losses(tokens, 0, 0)
    assert list(found) == ["loss", "lm_loss", "kl"]
    assert kl > 1e-4
    expected = [0.3 * lm + 0.7 * kl, lm, kl]
    # log-probabilities of about 6 are off by a few of their roundings in float32, 4e-7 each
    assert [value.item() for value in found.values()] == pytest.approx(expected, abs=4e-6)
    assert trainee.tune_loss(tokens, exported=True) == pytest.approx(lm, abs=4e-6)


def test_the_teacher_is_the_source_model_or_the_one_that_is_given(
    assembled: Assemble, tiny_model_folder: Any, learning_world: LearningWorld
) -> None:
    from transformers import AutoModelForCausalLM

    given = assembled("lemon-cut-75", teacher=Checkpoint(tiny_model_folder))
    for teacher, folder in (
        (assembled("lemon-cut-75").teacher, learning_world.source),
        (assembled("lemon-cut-trained-75").teacher, learning_world.source),
        (assembled("lemon-width-2-2").teacher, learning_world.source),
        (given.teacher, tiny_model_folder),
    ):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        inputs = some_tokens() % model.config.vocab_size
        with torch.no_grad():
            expected = log_softmax(model(inputs).logits.double(), -1).flatten(0, 1)
        torch.testing.assert_close(log_probabilities(teacher, inputs), expected, atol=1e-5, rtol=0)


def test_without_a_teacher_the_loss_is_that_of_the_text(assembled: Assemble) -> None:
    trainee, tokens = assembled("shear-75"), some_tokens()
    assert trainee.teacher is None
    found = trainee.losses(tokens, 2, 1)
    assert list(found) == ["loss", "lm_loss"]
    assert found["loss"].item() == found["lm_loss"].item()


def test_gates_are_sampled_for_each_microbatch_and_deterministic_for_heldout_losses(
    assembled: Assemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee, asked = assembled("shear-75"), []
    begin = trainee.student.fusion.begin_pass

    def recorded(draw: tuple[int, int] | None, *, at_target: bool = True) -> None:
        asked.append((draw, at_target))
        begin(draw, at_target=at_target)

    monkeypatch.setattr(trainee.student.fusion, "begin_pass", recorded)
    trainee.losses(some_tokens(), 5, 2)
    trainee.tune_loss(some_tokens(), exported=True)
    trainee.tune_loss(some_tokens(), exported=False)
    assert asked == [((5, 2), True), (None, True), (None, False)]


def test_the_constraint_adds_its_gradient_and_tells_how_it_stands(assembled: Assemble) -> None:
    trainee = assembled("shear-width")
    with torch.no_grad():
        for name, value in trainee.groups[2].parameters.items():
            value.fill_(-3.0 if "linear" in name else 2.0)
    expected = trainee.constraint.penalty(4)
    names = [*trainee.groups[1].parameters, *trainee.groups[2].parameters]
    parameters = [p for group in trainee.groups[1:] for p in group.parameters.values()]
    gradients = torch.autograd.grad(expected, parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    told = trainee.constrain(4)
    assert told["train/penalty"] == pytest.approx(expected.item())
    kinds = ("sparsity", "target_sparsity", "lambda", "phi")
    assert set(told) == {"train/penalty"} | {f"masks/{s}/{kind}" for s in AXES for kind in kinds}
    assert told["masks/head/lambda"] == -3.0
    assert told["masks/head/phi"] == 2.0
    for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, 1.0 + gradient, msg=name)
    assert assembled("lemon-cut-75").constrain(4) == {}


@pytest.mark.parametrize("scale", [0.5, -1.0, 2.0])
def test_a_row_with_a_single_entry_that_is_not_one_selects_nothing(
    assembled: Assemble, scale: float
) -> None:
    """The weights then train under that gamma, which stays."""
    fusion = assembled("cut-tuned-50", scale=scale).student.fusion
    assert isinstance(fusion, DepthFusion)
    for gamma in fusion.gamma.values():
        assert not gamma.requires_grad
        assert scale in gamma.unique().tolist()
