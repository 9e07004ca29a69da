"""Masks: their targets are met exactly, and masking is slicing."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
import torch
from models import write_tiny_model
from roundoff import logits_off
from transformers import AutoModelForCausalLM

from lemon.architecture import Axis, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.decoder import Decoder
from lemon.learning import hard_concrete
from lemon.learning.lagrangian import Lagrangian
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks, settled, write_masks
from lemon.learning.source_weights import SourceLayers
from lemon.learning.student import FusedStudent
from lemon.methods.shear import selection_operators
from lemon.model_folder import write_checkpoint
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse, fuse_tensors

CPU = torch.device("cpu")
NINE_OVER_THREE = {
    "num_hidden_layers": 4,
    "hidden_size": 72,
    "intermediate_size": 64,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "vocab_size": 272,
}
TARGETS = {
    "layers": {"num_hidden_layers": 2},
    "hidden": {"hidden_size": 63},
    "heads": {"num_attention_heads": 6, "num_key_value_heads": 2},
    "ffn": {"intermediate_size": 40},
    "hidden, heads, ffn": {
        "hidden_size": 33,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 24,
    },
    "all": {
        "num_hidden_layers": 3,
        "hidden_size": 42,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    },
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def source(request, tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("nine-over-three")
    return Checkpoint(
        write_tiny_model(folder, tie_word_embeddings=request.param, **NINE_OVER_THREE)
    )


@pytest.fixture(params=TARGETS)
def target(request, source) -> LlamaShape:
    return replace(source.shape, **TARGETS[request.param])


def learned_masks(source: Checkpoint, target: LlamaShape, spread: float = 2.0) -> Masks:
    """Masks with scattered log alpha, as learning leaves them."""
    masks = Masks(source.shape, target, seed=5, device=CPU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for log_alpha in masks.log_alpha.values():
            log_alpha.copy_(spread * torch.randn(log_alpha.shape, generator=generator))
    return masks


def masked_student(source: Checkpoint, masks: Masks, segment: int = 2) -> FusedStudent:
    decoder = Decoder(source.config, CPU)
    return FusedStudent(
        SourceLayers(source, dtype=torch.float32, device=CPU, trains=True),
        MaskedFusion(masks, decoder.norm_eps),
        decoder,
        layers_per_segment=segment,
        recompute=True,
    )


def some_tokens() -> torch.Tensor:
    return torch.randint(272, (2, 11), generator=torch.Generator().manual_seed(2))


def hand_sliced(source: Checkpoint, masks: Masks) -> dict[str, torch.Tensor]:
    """The small model cut out of the source by plain indexing."""
    shape, kept = source.shape, masks.selection()
    layers = kept.layer if kept.layer is not None else list(range(shape.num_hidden_layers))

    def channels(axis: Axis, layer: int | None) -> torch.Tensor:
        every = torch.arange(shape.axis_size(axis))
        if axis is Axis.HIDDEN and kept.hidden is not None:
            return every[kept.hidden]
        if axis is Axis.FFN and kept.ffn is not None:
            return every[kept.ffn[layer]]
        if axis in (Axis.QUERY, Axis.KEY_VALUE) and kept.head is not None:
            return every.view(shape.num_key_value_heads, -1)[kept.head[layer]].flatten()
        return every

    sliced = {}
    for name, spec in source.specs.items():
        if spec.layer is not None and spec.layer not in layers:
            continue
        weight = source.tensor(name)
        for dim, axis in enumerate(spec.axes):
            weight = weight.index_select(dim, channels(axis, spec.layer))
        if spec.layer is not None:
            name = name.replace(f"layers.{spec.layer}.", f"layers.{layers.index(spec.layer)}.")
        sliced[name] = weight
    return sliced


def test_the_selection_has_exactly_the_targets_shape_and_equals_the_hand_sliced_model(
    source, target
):
    masks = learned_masks(source, target)
    operators = selection_operators(source.shape, target, masks.selection())
    fused = dict(fuse_tensors(source, operators))
    sliced = hand_sliced(source, masks)
    assert operators.target == target
    assert fused.keys() == sliced.keys()
    for name, weight in sliced.items():
        assert torch.equal(fused[name], weight), name


@pytest.mark.parametrize("opens", [False, True])
def test_the_exported_model_computes_what_the_masked_student_computes(
    source, target, tmp_path, opens
):
    """With the deterministic gates folded in; norms take their mean over what is open alone."""
    masks = learned_masks(source, target)
    student = masked_student(source, masks)
    student.fusion.opens_kept_gates = opens
    student.fusion.begin_pass(None)
    with torch.no_grad():
        logits = student(some_tokens()) @ student.head_weight().T
    folder = tmp_path / "trained"
    weights = student.fusion.exported_weights(student.source)
    write_checkpoint(folder, source.shape, weights, like=source.path, dtype=torch.float32)
    operators = selection_operators(source.shape, target, masks.selection())
    digest = Checkpoint(folder).digest()
    save_operators(tmp_path / "o.safetensors", operators, source_digest=digest, method="shear")
    fuse(folder, tmp_path / "o.safetensors", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():
        expected = model(some_tokens()).logits
    torch.testing.assert_close(logits, expected, atol=logits_off(model, some_tokens()), rtol=0)
    if opens:  # kept units keep the source's weights
        for name, weight in hand_sliced(source, masks).items():
            assert torch.equal(model.state_dict()[name], weight), name


def test_how_far_the_gates_have_settled(source):
    """Two layers of four are kept; sigmoid(0.8 * 1.5 * x) are the gates."""
    target = replace(source.shape, num_hidden_layers=2)
    masks = Masks(source.shape, target, seed=0, device=CPU)
    values = torch.tensor([2.0, -1.0, 3.0, 0.5])
    with torch.no_grad():
        masks.log_alpha["layer"].copy_(values)
    found = settled(masks)["layer"]
    keep = [1 / (1 + math.exp(2 / 3 * math.log(1 / 11) - value)) for value in values.tolist()]
    assert found["sparsity"] == pytest.approx(1 - sum(keep) / 4, abs=1e-6)
    assert found["target_sparsity"] == pytest.approx(0.5)
    assert found["smallest_kept_gate"] == pytest.approx(1 / (1 + math.exp(-2.4)), abs=1e-6)
    assert found["largest_dropped_gate"] == pytest.approx(1 / (1 + math.exp(-0.6)), abs=1e-6)


def test_open_gates_leave_the_source_model(source):
    """At the start most draws clip every gate to 1: the student is then the source, to the bit."""
    masks = Masks(source.shape, replace(source.shape, **TARGETS["layers"]), seed=0, device=CPU)
    student = masked_student(source, masks)
    draws = (step for step in range(1000) if (masks.sampled(step, 0)["layer"] == 1).all())
    student.fusion.begin_pass((next(draws), 0))
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    with torch.no_grad():
        expected = model.model(some_tokens(), use_cache=False).last_hidden_state
        assert torch.equal(student(some_tokens()), expected)


def test_gradients_of_the_gates_against_finite_differences(source, target):
    masks = learned_masks(source, target, spread=0.3)  # most gates between 0 and 1
    student = masked_student(source, masks)
    tokens = some_tokens()
    probe = torch.randn(2, 11, source.shape.hidden_size, generator=torch.Generator().manual_seed(4))

    def value() -> torch.Tensor:
        student.fusion.begin_pass((0, 0))
        return (student(tokens) * probe).sum()

    value().backward()
    for name, log_alpha in masks.log_alpha.items():
        entry = divmod(int(log_alpha.grad.abs().argmax()), log_alpha.shape[-1])
        place = entry if log_alpha.dim() == 2 else entry[1]
        step = 2e-3
        with torch.no_grad():
            middle = log_alpha[place].item()
            log_alpha[place] = middle + step
            above = value().item()
            log_alpha[place] = middle - step
            below = value().item()
            log_alpha[place] = middle
        expected = (above - below) / (2 * step)
        # Hidden states are off by about 1e-6 in float32, and 1,584 of them, times the probe, by
        # 4e-5, which puts a slope off by 4e-5 / (2 step) = 0.01. The slopes are 3 and more.
        assert log_alpha.grad[place].item() == pytest.approx(expected, rel=3e-2), name


def test_noise_depends_on_the_seed_the_step_and_the_microbatch_alone(source):
    target = replace(source.shape, **TARGETS["all"])
    one, two = (learned_masks(source, target) for _ in range(2))
    two.sampled(3, 1)  # what was drawn before does not matter
    for name, gates in one.sampled(7, 0).items():
        assert torch.equal(gates, two.sampled(7, 0)[name])
        assert not torch.equal(gates, two.sampled(8, 0)[name])
        assert not torch.equal(gates, two.sampled(7, 1)[name])
    two.seed = 6
    assert not torch.equal(one.sampled(7, 0)["hidden"], two.sampled(7, 0)["hidden"])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.65, 3), (0.6, 2), (0.99, 4), (0.1, 1), (0.002, 1)]
)
def test_as_many_gates_are_open_as_are_expected_now(source, share, expected):
    """Of four, rounded, and at least one; at the target always its two."""
    masks = Masks(source.shape, replace(source.shape, **TARGETS["layers"]), seed=0, device=CPU)
    with torch.no_grad():  # the keep probability is 1 - sigmoid(BETA log(1/11) - log alpha)
        threshold = hard_concrete.BETA * math.log(1 / 11)
        masks.log_alpha["layer"].fill_(threshold + math.log(share / (1 - share)))
    assert (masks.deterministic(at_target=False)["layer"] > 0).sum() == expected
    assert (masks.deterministic(at_target=True)["layer"] > 0).sum() == 2


def test_axes_that_stay_have_no_gates(source):
    masks = Masks(source.shape, replace(source.shape, **TARGETS["layers"]), seed=0, device=CPU)
    assert set(masks.log_alpha) == {"layer"}


def test_the_penalty_worked_by_hand(source):
    """4 layers to 2: keep probability p each, s = 1 - p, t = 1/2 after the warm-up of 4 steps."""
    masks = Masks(source.shape, replace(source.shape, **TARGETS["layers"]), seed=0, device=CPU)
    lagrangian = Lagrangian(masks, steps=10, warmup_ratio=0.4)
    targets = [lagrangian.target_sparsity("layer", step) for step in range(6)]
    assert targets == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    with torch.no_grad():
        lagrangian.linear["layer"].fill_(-3.0)
        lagrangian.quadratic["layer"].fill_(2.0)
    excess = (1 - masks.keep_probabilities()["layer"][0].item()) - 0.5
    penalty = lagrangian.penalty(5)
    assert penalty.item() == pytest.approx(-3.0 * excess + 2.0 * excess**2, rel=1e-5)
    penalty.backward()
    # The multipliers ascend along the excess and its square; below target, gates are to close.
    assert lagrangian.linear["layer"].grad.item() == pytest.approx(excess, rel=1e-5)
    assert lagrangian.quadratic["layer"].grad.item() == pytest.approx(excess**2, rel=1e-5)
    assert (masks.log_alpha["layer"].grad > 0).all()


def test_heads_and_neurons_have_a_constraint_for_every_layer(source):
    masks = learned_masks(source, replace(source.shape, **TARGETS["all"]))
    lagrangian = Lagrangian(masks, steps=10, warmup_ratio=0.0)
    shapes = {name: tuple(value.shape) for name, value in lagrangian.linear.items()}
    assert shapes == {"layer": (), "hidden": (), "head": (4,), "ffn": (4,)}
    assert lagrangian.target_sparsity("head", 0) == pytest.approx(1 / 3)


def test_masks_are_exported_one_line_a_gate(source, tmp_path):
    masks = learned_masks(source, replace(source.shape, **TARGETS["all"]))
    write_masks(tmp_path / "masks.csv", masks)
    with (tmp_path / "masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 + 72 + 4 * 3 + 4 * 64
    kept = masks.selection()
    heads = [int(row["unit"]) for row in rows if row["structure"] == "head" and row["kept"] == "1"]
    assert heads == [head for layer in kept.head for head in layer]
    assert all((float(row["gate"]) > 0) == (row["kept"] == "1") for row in rows)
    layers = {
        name: {row["layer"] for row in rows if row["structure"] == name}
        for name in masks.structures
    }
    numbered = {"0", "1", "2", "3"}  # the model has one row of gates for its layers, one of widths
    assert layers == {"layer": {""}, "hidden": {""}, "head": numbered, "ffn": numbered}
