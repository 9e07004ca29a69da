"""The trainee of pre-training: a plain Hugging Face model with the next-token loss.

Shapes: B sequences, T predicted tokens of a sequence, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lemon.training.objective import distillation_loss
from lemon.training.trainee import ParameterGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel(nn.Module):
    """A model that learns from text alone (`lemon.training.trainee.Trainee` has the methods).

    Weights are float32; where the compute format is bfloat16, `autocast` casts them for each
    product, and the residual stream stays float32. The forward pass ends in the loss, so that a
    wrapper that shards weights sees every use of one.
    """

    def __init__(
        self, model: PreTrainedModel, *, dtype: torch.dtype, rate: float, chunk_tokens: int
    ) -> None:
        """Train all weights of `model`.

        Args:
            model: in float32, on its device.
            dtype: compute format.
            rate: peak learning rate.
            chunk_tokens: tokens whose logits are in memory at once.
        """
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.chunk_tokens = chunk_tokens
        weights = dict(model.named_parameters())
        self.groups: Sequence[ParameterGroup] = [
            ParameterGroup("weight", rate, "pretraining.weight_rate", weights)
        ]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    def forward(self, tokens_BT1: Tensor) -> Tensor:
        """The mean next-token loss of tokens [B, T + 1] in nats."""
        narrow = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=narrow):
            hidden_BTD = self.model.base_model(tokens_BT1[:, :-1], use_cache=False)[0]
            head = self.model.get_output_embeddings().weight
        return distillation_loss(
            hidden_BTD.flatten(0, 1).to(self.dtype),
            head.to(self.dtype),
            None,
            None,
            tokens_BT1[:, 1:].flatten(),
            lm_weight=1.0,
            chunk_tokens=self.chunk_tokens,
        ).total

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        """The next-token loss."""
        return {"loss": self(tokens_BT1)}

    @torch.no_grad()
    def tune_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        """The next-token loss in nats; what is exported is what trains."""
        return float(self(tokens_BT1))

    def constrain(self, step: int) -> dict[str, float]:
        """Nothing is constrained."""
        return {}
