"""A model of two matrices that is no fusion, and how it is trained.

Everything is in float64, so that sums in another order differ by no more than rounding at 1e-16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lemon.configuration.learning_settings import LearningSettings
from lemon.events import read_events
from lemon.training.loop import Trainer
from lemon.training.trainee import ParameterGroup

VOCABULARY, LENGTH, SEED, STEPS = 11, 6, 4, 5
RATES = {"embedding": 0.02, "head": 0.05}
SETTINGS = LearningSettings(
    batch_sequences=6,
    microbatch_sequences=2,
    warmup_ratio=0.4,
    final_rate_ratio=0.1,
    beta1=0.8,
    beta2=0.9,
    weight_decay=0.01,
    max_gradient_norm=0.05,  # every gradient here is larger
    checkpoint_every=2,
    evaluate_every=3,
    tune_sequences=5,
)
WEIGHTS = {"prose": 3.0, "code": 1.0}


class Bigram(nn.Module):
    """Logits of the next token from the one before: head @ embedding[token]."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(7)
        for name in RATES:
            start = torch.randn(VOCABULARY, 4, generator=draw, dtype=torch.float64)
            self.register_parameter(name, nn.Parameter(start))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.embedding[tokens_BT] @ self.head.T


def loss_of(model: Bigram, tokens: Tensor) -> Tensor:
    return cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


@dataclass
class PlainTrainee:
    """The model and, perhaps, a multiplier that pulls the sum of the head to `pull`."""

    pull: float | None = None
    model: Bigram = field(default_factory=Bigram)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = dict(self.model.named_parameters())
        self.multiplier = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.groups = [
            ParameterGroup(n, rate, f"x.{n}", {n: named[n]}) for n, rate in RATES.items()
        ]
        if self.pull is not None:
            named = {"multiplier": self.multiplier}
            self.groups.append(ParameterGroup("multiplier", 0.1, "x.m", named, ascends=True))
        self.device = torch.device("cpu")

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        self.asked.append((step, microbatch, tokens_BT1.shape))
        loss = loss_of(self.model, tokens_BT1)
        return {"loss": loss, "squared": loss.detach() ** 2}

    @torch.no_grad()
    def tune_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        self.asked.append(("tune", exported, len(tokens_BT1)))
        return loss_of(self.model, tokens_BT1).item() + (0.0 if exported else 0.25)

    def penalty(self) -> Tensor:
        return self.multiplier * (self.model.head.sum() - self.pull)

    def constrain(self, step: int) -> dict[str, float]:
        if self.pull is None:
            return {}
        penalty = self.penalty()
        penalty.backward()
        return {"train/penalty": penalty.item(), "step": step}


Make = Callable[..., Trainer]


def events(trainer: Trainer) -> list[tuple[int, int, str, float]]:
    """Every event but times."""
    return [
        (e["step"], e["tokens"], e["name"], e["value"])
        for e in read_events(trainer.metrics_path)
        if e["name"] != "train/tokens_per_s"
    ]


def values(trainer: Trainer, name: str) -> list[float]:
    return [value for _, _, found, value in events(trainer) if found == name]
