"""The interface between the training loop and the model that it trains.

A trainee may be a plain model, or one whose weights are computed from those of a larger model.

Shapes: B sequences, T predicted tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share one learning rate.

    Attributes:
        name: logged as `train/rate_<name>`.
        rate: the peak of the schedule.
        setting: the preset's key for the rate, for messages.
        parameters: by their names in a checkpoint, which are unique among all groups.
        ascends: whether the optimiser maximises the loss over them.
    """

    name: str
    rate: float
    setting: str
    parameters: dict[str, nn.Parameter]
    ascends: bool = False


class Trainee(Protocol):
    """A model in training.

    Its only state is its parameters: any randomness must be a function of a seed, the step and the
    microbatch, so that a resumed run equals an uninterrupted one.
    """

    @property
    def groups(self) -> Sequence[ParameterGroup]:
        """All trained parameters, in the order of the stored optimiser state."""
        ...

    @property
    def device(self) -> torch.device:
        """Device for the tokens."""
        ...

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        """The training losses of one microbatch.

        Args:
            tokens_BT1: int64 [B, T + 1]; each token but the first is predicted.
            step: optimiser steps taken before, from 0.
            microbatch: index within the step, from 0.

        Returns:
            Scalars by name, always the same names, logged as `train/<name>`. `loss` is minimised.
        """
        ...

    def heldout_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        """The mean next-token loss of held-out sequences in nats, without noise or a gradient.

        Args:
            tokens_BT1: int64 [B, T + 1].
            exported: evaluate the model that would be exported now; if False, the model in
                training, which is larger while masks are still closing.
        """
        ...

    def constrain(self, step: int) -> dict[str, float]:
        """Add the gradient of a constraint on the parameters, if there is one.

        Called once a step, after the backward pass of the last microbatch.

        Returns:
            The values to log, by full name; empty without a constraint.
        """
        ...
