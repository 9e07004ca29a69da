"""The trainee of pre-training: a plain Hugging Face model with the next-token loss.

Shapes: B sequences, T predicted tokens of a sequence, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lemon.training.objective import distillation_loss
from lemon.training.processes import ALONE, Processes
from lemon.training.shards import Shard, whole_value
from lemon.training.trainee import ParameterGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel(nn.Module):
    """A model that learns from text alone (`lemon.training.trainee.Trainee` has the methods).

    Weights are float32; where the compute format is bfloat16, `autocast` casts them for each
    product, and the residual stream stays float32. Several processes divide the weights: each one
    is gathered where a module of the model uses it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        dtype: torch.dtype,
        rate: float,
        chunk_tokens: int,
        processes: Processes = ALONE,
    ) -> None:
        """Train all weights of `model`.

        Args:
            model: in float32; the model of several processes is kept in shares from then on.
            dtype: compute format.
            rate: peak learning rate.
            chunk_tokens: tokens whose logits are in memory at once.
            processes: those that train together.
        """
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.chunk_tokens = chunk_tokens
        weights = dict(model.named_parameters())
        if processes.count > 1:
            weights = _divide(model, weights, dtype, processes)
        self.groups: Sequence[ParameterGroup] = [
            ParameterGroup("weight", rate, "pretraining.weight_rate", weights)
        ]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by Hugging Face name, in float32 on the CPU.

        Processes that divide them go through all together, and process 0 alone gets them.
        """
        for group in self.groups:
            for name, weight in group.parameters.items():
                yield name, whole_value(weight, weight.detach()).cpu()

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


class _Whole(nn.Module):
    """Gives a module a weight whose share this process holds, each time that it asks for it."""

    def __init__(self, dtype: torch.dtype) -> None:
        """`dtype` is the format in which it is gathered."""
        super().__init__()
        self.dtype = dtype

    def forward(self, shard: Shard) -> Tensor:
        return shard.whole(self.dtype)


def _divide(
    model: PreTrainedModel,
    weights: dict[str, nn.Parameter],
    dtype: torch.dtype,
    processes: Processes,
) -> dict[str, nn.Parameter]:
    """Replace each weight by this process's share; returns the shares by the weights' names.

    Weights of products are gathered in the compute format, to which `autocast` would cast them.
    """
    shards = {
        weight: Shard(processes.share(weight.detach()), weight.shape, processes)
        for weight in weights.values()
    }
    for module in [*model.modules()]:
        used = dtype if isinstance(module, nn.Linear) else torch.float32
        for name, weight in [*module.named_parameters(recurse=False)]:
            setattr(module, name, shards[weight])
            parametrize.register_parametrization(module, name, _Whole(used), unsafe=True)
    return {name: shards[weight] for name, weight in weights.items()}
