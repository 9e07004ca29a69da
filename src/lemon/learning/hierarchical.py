"""Hierarchical distillation: each layer learns the output of the source layers that it stands for.

CoMe's authors train merged models so; their formulas, weights and code are not public. Ours: of the
model with L2 layers, layer i of which stands for the source layers up to b_i,

    S = sum_i mean(|h_i - t_i|^2) / mean(|t_i|^2)     h_i after layer i, t_i after source layer b_i

is minimised in the first half of the steps, and S + KL(teacher || student) in the second.

Shapes: B sequences, T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lemon.architecture import LAYER_TYPES
from lemon.errors import BadInput
from lemon.learning.trainee import FusedTrainee
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.training.objective import distillation_loss


@dataclass(frozen=True)
class HierarchicalTrainee(FusedTrainee):
    """A student with one layer a segment, and a teacher whose hidden states it learns.

    Attributes:
        stands_for: b_i, the last source layer of each layer.
        states_alone: steps before the teacher's predictions count.
    """

    stands_for: Sequence[int]
    states_alone: int

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        """The objective, the language-modelling loss, the KL divergence, and S."""
        assert self.teacher is not None
        inputs, labels = tokens_BT1[:, :-1], tokens_BT1[:, 1:].flatten()
        self.student.fusion.begin_pass((step, microbatch))
        ours, theirs = list(self.student.states(inputs)), list(self.teacher.states(inputs))
        targets = [theirs[layer] for layer in self.stands_for]
        states = torch.stack([state_loss(*pair) for pair in zip(ours, targets, strict=True)]).sum()
        kl, lm, _ = distillation_loss(
            *(self.student.normed(ours[-1]).flatten(0, 1), self.student.head_weight()),
            *(self.teacher.normed(theirs[-1]).flatten(0, 1), self.teacher.head_weight(), labels),
            lm_weight=0.0,
            chunk_tokens=self.chunk_tokens,
        )
        counts = float(step >= self.states_alone)
        # Its value has both at every step, since later steps are compared with the first.
        loss = states + counts * kl + (1 - counts) * kl.detach()
        return {"loss": loss, "lm_loss": lm, "kl": kl.detach(), "states": states}


def state_loss(hidden_BTD: Tensor, target_BTD: Tensor) -> Tensor:
    """mean(|h - t|^2) / mean(|t|^2) in float32."""
    target = target_BTD.float()
    return (hidden_BTD.float() - target).square().mean() / target.square().mean()


def last_layers(operators: Operators) -> list[int]:
    """For each target layer the last source layer with a weight in it, in any type.

    Raises:
        BadInput: they do not increase from layer to layer.
    """
    identity = Dense(torch.eye(operators.source.num_hidden_layers))
    gammas = [operators.gamma.get(type, identity).dense() for type in LAYER_TYPES]
    used = torch.stack(gammas).any(0)
    last = [int(row.nonzero().max()) for row in used]
    for layer, (above, below) in enumerate(pairwise(last)):
        if below <= above:
            raise BadInput(
                f"the start gives layers {layer} and {layer + 1} the last source layers {above} "
                f"and {below}, which must increase for hierarchical distillation; name a start "
                "that drops or merges neighbouring layers"
            )
    return last
