"""The fused trainee: a student that learns from text, a teacher, or both.

Shapes: B sequences, T predicted tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lemon.learning.lagrangian import Lagrangian
from lemon.learning.student import FusedStudent, Teacher
from lemon.training.objective import distillation_loss, language_model_loss
from lemon.training.trainee import ParameterGroup


@dataclass(frozen=True)
class FusedTrainee:
    """A student in training (`lemon.training.trainee.Trainee` describes the methods).

    Attributes:
        teacher: None to learn from text alone.
        groups: the trained parameters.
        constraint: the constraint on the masks; None without masks.
        lm_weight: lambda, the share of the language-modelling loss.
        chunk_tokens: tokens whose logits are in memory at once.
    """

    student: FusedStudent
    teacher: Teacher | None
    groups: Sequence[ParameterGroup]
    constraint: Lagrangian | None
    lm_weight: float
    chunk_tokens: int

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.student.source.embedding.device

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        """The objective, its language-modelling term and, with a teacher, its KL divergence."""
        inputs, labels = tokens_BT1[:, :-1], tokens_BT1[:, 1:].flatten()
        self.student.fusion.begin_pass((step, microbatch))
        hidden, head = self.student(inputs).flatten(0, 1), self.student.head_weight()
        taught = taught_head = None
        if self.teacher is not None:
            taught, taught_head = self.teacher(inputs).flatten(0, 1), self.teacher.head_weight()
        total, lm, kl = distillation_loss(
            *(hidden, head, taught, taught_head, labels),
            lm_weight=1.0 if self.teacher is None else self.lm_weight,
            chunk_tokens=self.chunk_tokens,
        )
        return {"loss": total, "lm_loss": lm} | ({} if self.teacher is None else {"kl": kl})

    def tune_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        """The next-token loss of the student in nats, with deterministic gates."""
        self.student.fusion.begin_pass(None, at_target=exported)
        return next_token_loss(self.student, tokens_BT1, self.chunk_tokens)

    def constrain(self, step: int) -> dict[str, float]:
        """Add the gradient of the constraint on the masks."""
        if self.constraint is None:
            return {}
        penalty = self.constraint.penalty(step)
        penalty.backward()
        return {"train/penalty": penalty.item(), **self.constraint.measures(step)}


@torch.no_grad()
def next_token_loss(model: FusedStudent | Teacher, tokens_BT1: Tensor, chunk_tokens: int) -> float:
    """Mean next-token loss in nats on tokens [B, T + 1]."""
    hidden = model(tokens_BT1[:, :-1]).flatten(0, 1)
    labels = tokens_BT1[:, 1:].flatten()
    return language_model_loss(hidden, model.head_weight(), labels, chunk_tokens=chunk_tokens)
