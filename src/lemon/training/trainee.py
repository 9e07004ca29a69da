"""What the training loop asks of a model that trains. It knows nothing else of the model.

A trainee may be a plain model, or one whose weights are computed from those of a larger model.

Shapes: B sequences, T tokens that a sequence predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that train at one learning rate.

    Attributes:
        name: in the logged rates, as `train/rate_<name>`.
        rate: the peak of the schedule.
        setting: the key of the preset that states the rate, for messages.
        parameters: by their names in a checkpoint, which are unique among all groups.
        ascends: whether the optimiser maximises the loss over them.
    """

    name: str
    rate: float
    setting: str
    parameters: dict[str, nn.Parameter]
    ascends: bool = False


class Trainee(Protocol):
    """A model that trains.

    Its state is that of its parameters alone: any randomness must be a function of a seed, the step
    and the microbatch, so that a resumed run equals an uninterrupted one.
    """

    @property
    def groups(self) -> Sequence[ParameterGroup]:
        """All parameters that train, in the order in which the optimiser's state is stored."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the tokens are wanted."""
        ...

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        """The training losses of one microbatch.

        Args:
            tokens_BT1: int64 [B, T + 1]; each token but the first is predicted.
            step: optimiser steps taken before, from 0.
            microbatch: its number within the step, from 0.

        Returns:
            Scalars by name, always the same names. Each is logged as `train/<name>`. The one named
            `loss` is minimised.
        """
        ...

    def heldout_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        """The mean next-token loss of held-out sequences, in nats, without noise or a gradient.

        Args:
            tokens_BT1: int64 [B, T + 1].
            exported: of the model that would be exported now. Otherwise of the model as it trains
                now, which is larger while masks are still closing.
        """
        ...

    def constrain(self, step: int) -> dict[str, float]:
        """Add the gradient of a constraint on the parameters, if there is one.

        Called once a step, after the backward pass of the last microbatch.

        Returns:
            What is logged of the constraint, by the whole name; empty without one.
        """
        ...
