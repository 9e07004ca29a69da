"""The chunked loss and its hand-formed gradient against plain autograd and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from roundoff import FLOAT32, log_probabilities_off, sum_off

from lemon.training.objective import distillation_loss, language_model_loss


def plain_loss(hidden, head, teacher_hidden, teacher_head, labels, lm_weight):
    """The definition in float64, with every logit in memory and autograd's gradient."""
    log_p = torch.log_softmax(hidden.double() @ head.double().T, dim=-1)
    log_q = torch.log_softmax(teacher_hidden.double() @ teacher_head.double().T, dim=-1)
    lm = torch.nn.functional.nll_loss(log_p, labels)
    kl = torch.nn.functional.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
    return lm_weight * lm + (1 - lm_weight) * kl, lm, kl


def gradients_off(hidden, head, off):
    """How far the gradients of the hidden states and of the head may be from exact ones.

    The absolute entries of p - t add up to at most 2 for a token, and their errors to those of the
    log-probabilities, and a few roundings. The gradients are sums of them over the vocabulary or
    the tokens, which share a mean.
    """
    tokens, vocabulary = len(hidden), len(head)
    off += 4 * vocabulary * FLOAT32
    to_hidden = (off + 2 * sum_off(vocabulary)) * head.detach().abs().max().item() / tokens
    to_head = (off + 2 * sum_off(tokens)) * hidden.detach().abs().max().item()
    return to_hidden, to_head


@given(
    tokens=st.integers(1, 33),  # the head's gradient is gathered over 10 tokens at a time
    chunk=st.integers(1, 12),
    lm_weight=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40)
def test_losses_and_gradients_equal_the_definition(tokens, chunk, lm_weight, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    hidden, head = draw(tokens, 5).requires_grad_(), draw(11, 5).requires_grad_()
    teacher_hidden, teacher_head = draw(tokens, 7), draw(11, 7)
    labels = torch.randint(11, (tokens,), generator=generator)
    ours = distillation_loss(
        hidden,
        head,
        teacher_hidden,
        teacher_head,
        labels,
        lm_weight=lm_weight,
        chunk_tokens=chunk,
    )
    (3 * ours.total).backward()
    gradients = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    theirs = plain_loss(hidden, head, teacher_hidden, teacher_head, labels, lm_weight)
    (3 * theirs[0]).backward()
    student_off = log_probabilities_off(hidden, head)
    teacher_off = log_probabilities_off(teacher_hidden, teacher_head)
    log_p = torch.log_softmax(hidden.double() @ head.double().T, dim=-1)
    log_q = torch.log_softmax(teacher_hidden.double() @ teacher_head.double().T, dim=-1)
    apart = (log_q.exp() * (log_q - log_p).abs()).sum(1).max().item()
    lm_off = student_off + 2 * FLOAT32 * theirs[1].item()
    kl_off = student_off + teacher_off * (1 + apart) + sum_off(11 * chunk) * apart
    assert abs(ours.lm.item() - theirs[1].item()) <= lm_off
    assert abs(ours.kl.item() - theirs[2].item()) <= kl_off
    assert abs(ours.total.item() - theirs[0].item()) <= lm_off + kl_off
    to_hidden, to_head = gradients_off(hidden, head, student_off + teacher_off)
    assert (gradients[0] - hidden.grad).abs().max() <= 3 * to_hidden
    assert (gradients[1] - head.grad).abs().max() <= 3 * to_head


def test_without_a_teacher_it_is_the_language_model_loss():
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(7, 4, generator=generator).requires_grad_()
    head = torch.randn(9, 4, generator=generator).requires_grad_()
    labels = torch.randint(9, (7,), generator=generator)
    losses = distillation_loss(hidden, head, None, None, labels, lm_weight=1.0, chunk_tokens=3)
    losses.total.backward()
    gradients = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    expected = torch.nn.functional.cross_entropy(hidden.double() @ head.double().T, labels)
    expected.backward()
    off = log_probabilities_off(hidden, head)
    assert losses.total.item() == losses.lm.item() == pytest.approx(expected.item(), abs=off)
    assert losses.kl.item() == 0.0
    to_hidden, to_head = gradients_off(hidden, head, off)
    assert (gradients[0] - hidden.grad).abs().max() <= to_hidden
    assert (gradients[1] - head.grad).abs().max() <= to_head


def test_hand_worked_value():
    # Student logits (0, 0): p = (1/2, 1/2). Teacher logits (log 3, 0): q = (3/4, 1/4).
    hidden = torch.zeros(1, 1)
    head = torch.tensor([[1.0], [0.0]])
    losses = distillation_loss(
        hidden,
        head,
        torch.tensor([[math.log(3.0)]]),
        head,
        torch.tensor([1]),
        lm_weight=0.25,
        chunk_tokens=8,
    )
    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert losses.lm.item() == pytest.approx(math.log(2))
    assert losses.kl.item() == pytest.approx(kl)
    assert losses.total.item() == pytest.approx(0.25 * math.log(2) + 0.75 * kl)


def test_a_student_that_is_the_teacher_has_no_divergence_and_no_gradient():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 4, generator=generator).requires_grad_()
    head = torch.randn(9, 4, generator=generator)
    labels = torch.arange(6)
    losses = distillation_loss(
        hidden, head, hidden.detach(), head, labels, lm_weight=0.0, chunk_tokens=4
    )
    losses.total.backward()
    off = 2 * log_probabilities_off(hidden, head)
    assert losses.kl.abs().item() <= off
    assert hidden.grad.abs().max().item() <= gradients_off(hidden, head, off)[0]


def test_language_model_loss_is_the_mean_over_tokens_whatever_the_chunk():
    generator = torch.Generator().manual_seed(1)
    hidden, head = torch.randn(7, 4, generator=generator), torch.randn(9, 4, generator=generator)
    labels = torch.randint(9, (7,), generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden.double() @ head.double().T, labels).item()
    for chunk in (1, 3, 7, 100):
        found = language_model_loss(hidden, head, labels, chunk_tokens=chunk)
        assert found == pytest.approx(expected, abs=log_probabilities_off(hidden, head))
