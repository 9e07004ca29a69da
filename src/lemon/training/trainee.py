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
        """The training losses of a microbatch [B, T + 1], whose tokens but the first are predicted.

        `step` counts from 0, and so does `microbatch` within the step. The scalars always have the
        same names and are logged as `train/<name>`; `loss` is minimised.
        """
        ...

    def tune_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        """The mean next-token loss of tune sequences in nats, without noise or a gradient.

        It is that of the model that would be exported now; if not `exported`, that of the model in
        training, which is larger while masks are still closing.
        """
        ...

    def constrain(self, step: int) -> dict[str, float]:
        """Add the gradient of a constraint, if there is one; returns the values to log, by name.

        Called once a step, after the backward pass of the last microbatch.
        """
        ...
