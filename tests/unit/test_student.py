"""The fused student against Hugging Face models, and its gradient against finite differences."""

import pytest
import torch
from roundoff import logits_off, sum_off
from transformers import LlamaForCausalLM

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.decoder import Decoder
from lemon.learning.fusion import DepthFusion
from lemon.learning.source_weights import SourceStack
from lemon.learning.student import FusedStudent, Teacher
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.training.objective import distillation_loss

CPU = torch.device("cpu")


def make_student(folder, gamma_of, *, layers=3, segment=2, recompute=True, trains=False):
    source = Checkpoint(folder)
    target = source.shape.with_depth(layers)
    depth = source.shape.num_hidden_layers
    gamma = {type: Dense(gamma_of(type, layers, depth)) for type in LAYER_TYPES}
    stack = SourceStack(source, dtype=torch.float32, device=CPU, trains=trains)
    student = FusedStudent(
        stack,
        DepthFusion(Operators(source.shape, target, gamma=gamma), CPU),
        Decoder(source.config, CPU),
        layers_per_segment=segment,
        recompute=recompute,
    )
    return student, stack


def dense(type, layers, depth):
    generator = torch.Generator().manual_seed(len(type) * 7 + ord(type[0]))
    return torch.eye(layers, depth) + 0.2 * torch.randn(layers, depth, generator=generator)


def some_tokens(student, rows=2, length=9):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(student.source.shape.vocab_size, (rows, length), generator=generator)


@pytest.fixture(params=["tiny_model_folder", "tiny_untied_model_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_teacher_gives_the_logits_of_hugging_face(folder):
    student, stack = make_student(folder, dense)
    tokens = some_tokens(student)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits = Teacher(stack, student.decoder)(tokens) @ stack.head_weight().T
    torch.testing.assert_close(logits, model(tokens).logits, atol=logits_off(model, tokens), rtol=0)


@pytest.mark.parametrize("segment", [1, 2, 3])
@pytest.mark.parametrize("recompute", [True, False])
def test_one_hot_student_is_the_model_with_layers_dropped_bit_for_bit(folder, segment, recompute):
    kept = [0, 2, 3]

    def selection(type, layers, depth):
        return torch.eye(depth)[kept]

    student, _ = make_student(folder, selection, segment=segment, recompute=recompute)
    tokens = some_tokens(student)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.model.layers = torch.nn.ModuleList(model.model.layers[layer] for layer in kept)
    model.config.num_hidden_layers = len(kept)
    expected = model.model(tokens, use_cache=False).last_hidden_state
    assert torch.equal(student(tokens), expected)


def test_segments_and_recomputation_change_no_gradient(folder):
    gradients = []
    for segment, recompute in ((1, True), (3, False), (2, True)):
        student, _ = make_student(folder, dense, segment=segment, recompute=recompute)
        student(some_tokens(student)).square().mean().backward()
        gradients.append({t: g.grad for t, g in student.fusion.gamma.items()})
    for other in gradients[1:]:
        for type in LAYER_TYPES:
            # Each entry is an inner product over the weights of a type, at most 72 x 64 of them.
            allowed = sum_off(72 * 64) * other[type].abs().max().item()
            torch.testing.assert_close(gradients[0][type], other[type], atol=allowed, rtol=0)


def test_gradient_of_gamma_against_finite_differences(folder):
    student, stack = make_student(folder, dense)
    for module in (student, stack):
        module.double()
    stack.dtype = torch.float64
    tokens = some_tokens(student)
    inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()

    def loss():
        return distillation_loss(
            student(inputs).flatten(0, 1),
            student.head_weight(),
            Teacher(stack, student.decoder)(inputs).flatten(0, 1),
            stack.head_weight(),
            labels,
            lm_weight=0.5,
            chunk_tokens=5,
        ).total

    loss().backward()
    step = 1e-3
    for type in LAYER_TYPES:
        gamma = student.fusion.gamma[type]
        largest = gamma.grad.abs().argmax()
        entry = (int(largest // gamma.shape[1]), int(largest % gamma.shape[1]))
        with torch.no_grad():
            middle = gamma[entry].item()
            gamma[entry] = middle + step
            above = loss().item()
            gamma[entry] = middle - step
            below = loss().item()
            gamma[entry] = middle
        # The loss, between 4 and 8, is rounded to float32, by up to 2^-22 each time, which may put
        # the slope off by 2^-22 / step = 2.4e-4; the norms, also in float32, by a few times this.
        expected = (above - below) / (2 * step)
        assert gamma.grad[entry].item() == pytest.approx(expected, rel=2e-2, abs=2e-3), type


def test_gradient_of_learning_weights_is_gamma_transposed(folder):
    student, stack = make_student(folder, dense, layers=2, segment=1, trains=True)
    weights = student.fusion.layers(stack, 0, 2)
    generator = torch.Generator().manual_seed(5)
    probe = [torch.randn(weights[i]["q"].shape, generator=generator) for i in range(2)]
    sum((weights[i]["q"] * probe[i]).sum() for i in range(2)).backward()
    gamma = student.fusion.gamma["q"].detach()
    for layer in range(stack.shape.num_hidden_layers):
        terms = [gamma[i, layer] * probe[i] for i in range(2)]
        off = (stack.layers["q"].grad[layer] - sum(terms)).abs()
        assert (off <= 2 * sum_off(2) * sum(term.abs() for term in terms)).all()
