"""The student under the dimension operator: against exported models and finite differences."""

from __future__ import annotations

import pytest
import torch
from models import random_operators, smaller
from roundoff import logits_off
from transformers import LlamaConfig, LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.decoder import Decoder
from lemon.errors import BadInput
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.student import FusedStudent, Teacher
from lemon.methods.build import builder_of
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.operators.fuse import fuse_tensors
from lemon.operators.rotary import both_halves, one_half
from lemon.radii import Radii

CPU = torch.device("cpu")
RADII = [Radii(1, 1, 1), Radii(2, 2, 4), Radii(8, 4, 2), Radii(4, 8, 8)]


@pytest.fixture(params=["tiny_model_folder", "tiny_untied_model_folder"])
def source(request) -> Checkpoint:
    return Checkpoint(request.getfixturevalue(request.param))


def widths(source: Checkpoint) -> object:
    return smaller(source.shape, source.shape.num_hidden_layers)


def random_widths(source: Checkpoint, radii: Radii, *, tied: bool) -> Operators:
    drawn = random_operators(source.shape, widths(source), radii)
    blocks = source.shape.head_dim // (2 * radii.attention)
    attn = drawn.attn
    if tied and blocks:
        attn = {
            j: Dense(both_halves(dense[: len(dense) // 2, : dense.shape[1] // 2], blocks))
            for j, dense in ((j, factor.dense()) for j, factor in attn.items())
        }
    return Operators(
        source.shape, drawn.target, radii, hidden=drawn.hidden, attn=attn, ffn=drawn.ffn
    )


def make_student(
    source: Checkpoint, start: Operators, *, tied: bool, trains: bool = False
) -> FusedStudent:
    layers = ResidualLayers(
        source, dtype=torch.float32, device=CPU, radius=start.radii.hidden, trains=trains
    )
    decoder = Decoder(config_of(start.target, source.config), CPU)
    fusion = DimensionFusion(start, CPU, tied=tied)
    return FusedStudent(layers, fusion, decoder, layers_per_segment=2, recompute=False)


def some_tokens(source: Checkpoint) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(source.shape.vocab_size, (2, 9), generator=generator)


def logits_of(student: FusedStudent, tokens: torch.Tensor) -> torch.Tensor:
    return student(tokens) @ student.head_weight().T


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("radii", RADII, ids=str)
def test_the_student_computes_what_the_fused_model_computes(source, radii, tied):
    """Random operators on every axis: Hugging Face's model of the fused tensors agrees."""
    start = random_widths(source, radii, tied=tied)
    student = make_student(source, start, tied=tied)
    model = LlamaForCausalLM(LlamaConfig(**config_of(start.target, source.config))).eval()
    model.load_state_dict(dict(fuse_tensors(source, start)), strict=False)
    tokens = some_tokens(source)
    with torch.no_grad():
        expected = model(tokens).logits
        found = logits_of(student, tokens)
    allowed = 2 * logits_off(model, tokens)  # the student fuses the weights in other sums
    torch.testing.assert_close(found, expected, atol=allowed, rtol=0)
    assert expected.std() > 0.1


@pytest.mark.parametrize("radii", RADII, ids=str)
def test_what_was_learned_is_what_it_started_from(source, radii):
    start = random_widths(source, radii, tied=True)
    learned = DimensionFusion(start, CPU, tied=True).operators()
    for (name, factor), (_, again) in zip(
        start.named_factors(), learned.named_factors(), strict=True
    ):
        assert torch.equal(factor.dense(), again.dense()), name


def test_the_teacher_in_channel_order_is_the_model(source):
    layers = ResidualLayers(source, dtype=torch.float32, device=CPU, radius=4)
    teacher = Teacher(layers, Decoder(source.config, CPU))
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    tokens = some_tokens(source)
    with torch.no_grad():
        logits = teacher(tokens) @ teacher.head_weight().T
        expected = model(tokens).logits
    torch.testing.assert_close(logits, expected, atol=logits_off(model, tokens), rtol=0)
    for name, weight in layers.named_weights():
        assert torch.equal(weight, source.tensor(name)), name


def test_tying_halves_the_attention_factor_and_keeps_a_cut(source):
    cut = builder_of("cut")(BuildContext(source, widths(source), Radii(8, 2, 8)))
    fusion = DimensionFusion(cut, CPU, tied=True)
    full = cut.attn[0].shape
    assert fusion.attn["0"].shape == (full[0] // 2, full[1] // 2)
    assert torch.equal(fusion.operators().attn[0].dense(), cut.attn[0].dense())


def test_halves_that_differ_are_refused():
    factor = torch.eye(4)
    factor[0, 1] = 0.5  # mixes two blocks of the first half alone
    with pytest.raises(BadInput, match="rotary halves"):
        one_half(factor, 2)
    assert torch.equal(one_half(torch.eye(4), 2), torch.eye(2))


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_against_finite_differences(source, tied):
    start = random_widths(source, Radii(2, 2, 4), tied=tied)
    student = make_student(source, start, tied=tied, trains=True).double()
    student.source.dtype = torch.float64
    tokens = some_tokens(source)

    def loss() -> torch.Tensor:
        return logits_of(student, tokens).square().mean()

    loss().backward()
    step = 1e-3  # the norms compute in float32
    for name, parameter in student.named_parameters():
        if parameter.grad is None:
            continue
        largest = int(parameter.grad.abs().argmax())
        entry = parameter.data.view(-1)
        middle = entry[largest].item()
        with torch.no_grad():
            entry[largest] = middle + step
            above = loss().item()
            entry[largest] = middle - step
            below = loss().item()
            entry[largest] = middle
        expected = (above - below) / (2 * step)
        # The norms put the loss, about 1, off by 2^-24 or so, and a slope by 2^-24 / step = 6e-5.
        # The slopes are 0.05 and more.
        assert parameter.grad.view(-1)[largest].item() == pytest.approx(expected, rel=2e-2), name
    depth = source.shape.num_hidden_layers
    learned = {name for name, p in student.named_parameters() if p.grad is not None}
    assert {"fusion.hidden", f"fusion.attn.{depth - 1}", f"fusion.ffn.{depth - 1}"} <= learned
    assert {"source.embedding", "source.final_norm", "source.layers.0"} <= learned
