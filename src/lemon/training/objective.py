"""The objective lambda * LM + (1 - lambda) * KL(teacher || student), in chunks of tokens.

Shapes: N predicted tokens, D hidden size of the student, E of the teacher, V vocabulary.

Both terms are a cross-entropy against a target distribution, so with the student's p, the teacher's
q and the label's one-hot y,

    loss(z) = -sum_v t_v log p_v + const,    t = lambda y + (1 - lambda) q,    d loss / d z = p - t.

The gradient with respect to the hidden states is therefore computed in the forward pass, chunk by
chunk, and no float32 [N, V] array outlives its chunk. If the head trains, the p - t of the chunks
are stored in the compute format until one product adds them to its gradient: at most 2 D rows, so
that they never take more memory than that gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx


class Losses(NamedTuple):
    """Means over the predicted tokens, in nats; only `total` has a gradient."""

    total: Tensor
    lm: Tensor
    kl: Tensor


def distillation_loss(
    hidden_ND: Tensor,
    head_VD: Tensor,
    teacher_hidden_NE: Tensor | None,
    teacher_head_VE: Tensor | None,
    labels_N: Tensor,
    *,
    lm_weight: float,
    chunk_tokens: int,
) -> Losses:
    """The training loss of LEMON (section 3.4 of the paper; temperature 1, full vocabulary).

    Without a teacher it is the language-modelling loss alone, and `kl` is 0. The softmax is in
    float32, the sum over chunks in float64.

    Args:
        hidden_ND: the student's final hidden states, in the compute format.
        head_VD: the student's output embedding.
        teacher_hidden_NE: the teacher's final hidden states, without a gradient. None for no
            teacher; `lm_weight` must then be 1.
        teacher_head_VE: the teacher's output embedding, without a gradient.
        labels_N: the next token at each position.
        lm_weight: lambda, the share of the language-modelling loss.
        chunk_tokens: rows whose logits exist at once.
    """
    tensors = (hidden_ND, head_VD, teacher_hidden_NE, teacher_head_VE, labels_N)
    return Losses(*_DistillationLoss.apply(*tensors, lm_weight, chunk_tokens))


@torch.no_grad()
def language_model_loss(
    hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, *, chunk_tokens: int
) -> float:
    """Mean next-token loss in nats, without a gradient."""
    total = 0.0
    for hidden, labels in zip(
        hidden_ND.split(chunk_tokens), labels_N.split(chunk_tokens), strict=True
    ):
        log_p = torch.log_softmax(hidden @ head_VD.T, dim=-1, dtype=torch.float32)
        total -= log_p.gather(1, labels[:, None]).sum(dtype=torch.float64).item()
    return total / len(labels_N)


class _DistillationLoss(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden_ND: Tensor,
        head_VD: Tensor,
        teacher_hidden_NE: Tensor | None,
        teacher_head_VE: Tensor | None,
        labels_N: Tensor,
        lm_weight: float,
        chunk_tokens: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert teacher_hidden_NE is not None or lm_weight == 1.0
        count = len(labels_N)
        wants_hidden, wants_head = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        grad_hidden = torch.empty_like(hidden_ND) if wants_hidden else None
        head_gradient = _HeadGradient(hidden_ND, head_VD, chunk_tokens) if wants_head else None
        lm = hidden_ND.new_zeros((), dtype=torch.float64)
        kl = torch.zeros_like(lm)
        for first in range(0, count, chunk_tokens):
            part = slice(first, min(first + chunk_tokens, count))
            labels = labels_N[part, None]
            log_p = torch.log_softmax(hidden_ND[part] @ head_VD.T, dim=-1, dtype=torch.float32)
            lm -= log_p.gather(1, labels).sum(dtype=torch.float64)
            if teacher_hidden_NE is None or teacher_head_VE is None:
                q = None
            else:
                log_q = torch.log_softmax(
                    teacher_hidden_NE[part] @ teacher_head_VE.T, dim=-1, dtype=torch.float32
                )
                q = log_q.exp()
                kl += torch.dot(q.view(-1), log_q.sub_(log_p).view(-1))
            if not (wants_hidden or wants_head):
                continue
            # p - (1 - lambda) q - lambda y, in place, because these are the largest arrays.
            grad_logits = log_p.exp_()
            if q is not None:
                grad_logits.sub_(q, alpha=1.0 - lm_weight)
            minus_y = torch.full_like(labels, -lm_weight, dtype=grad_logits.dtype)
            grad_logits.scatter_add_(1, labels, minus_y)
            grad_logits = grad_logits.div_(count).to(hidden_ND.dtype)
            if grad_hidden is not None:
                torch.mm(grad_logits, head_VD, out=grad_hidden[part])
            if head_gradient is not None:
                head_gradient.add(part, grad_logits)
        grad_head = None if head_gradient is None else head_gradient.total()
        ctx.gradients = (grad_hidden, grad_head)  # type: ignore[attr-defined]
        lm, kl = (lm / count).float(), (kl / count).float()
        ctx.mark_non_differentiable(lm, kl)
        return lm_weight * lm + (1.0 - lm_weight) * kl, lm, kl

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0]
        scaled = (None if g is None else g * scale for g in ctx.gradients)  # type: ignore[attr-defined]
        return (*scaled, None, None, None, None, None)


class _HeadGradient:
    """The sum over tokens of (p - t) h^T, [V, D], in as few products as memory allows.

    One product for each chunk would read and write the whole sum each time, at a higher cost than
    the product.
    """

    def __init__(self, hidden_ND: Tensor, head_VD: Tensor, chunk_tokens: int) -> None:
        count, width = hidden_ND.shape
        self._hidden_ND = hidden_ND
        self._dtype = head_VD.dtype
        most = min(count, max(chunk_tokens, 2 * width))
        self._logits_NV = hidden_ND.new_empty(most, len(head_VD))
        self._first = self._last = 0  # rows of hidden_ND stored but not yet multiplied
        self._sum_VD: Tensor | None = None

    def add(self, rows: slice, grad_logits: Tensor) -> None:
        """Store the next chunk."""
        if rows.stop - self._first > len(self._logits_NV):
            self._multiply()
        self._logits_NV[rows.start - self._first : rows.stop - self._first] = grad_logits
        self._last = rows.stop

    def total(self) -> Tensor:
        """The gradient in the head's number format."""
        self._multiply()
        assert self._sum_VD is not None
        return self._sum_VD.to(self._dtype)

    def _multiply(self) -> None:
        logits_NV = self._logits_NV[: self._last - self._first]
        product_VD = logits_NV.T @ self._hidden_ND[self._first : self._last]
        if len(logits_NV) < len(self._hidden_ND):  # one of several products
            product_VD = product_VD.float()
        self._sum_VD = product_VD if self._sum_VD is None else self._sum_VD.add_(product_VD)
        self._first = self._last
