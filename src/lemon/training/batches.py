"""Where a run's training rows come from: one mixture for good, or one that follows the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from lemon.data.text.dynamic_batch_loading import DynamicBatchLoader
from lemon.data.text.order import SequenceOrder, Tokens
from lemon.data.text.packing import PackedText, training_batch


class Batches(ABC):
    """The training rows of a run, in order."""

    update_every: int | None = None  # steps between updates of the mixture; None is never

    @abstractmethod
    def take(self, first: int, count: int) -> Tokens:
        """The rows at places first .. first + count - 1; int64 [count, sequence_length + 1]."""

    def update(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Have the mixture follow held-out losses in nats by domain; the new weights, if any."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing where the place says all."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - as `state`: may be nothing
        """Go on where the state was taken."""


class FixedBatches(Batches):
    """Rows by their place in one endless order; every run that shares text and seed sees them."""

    def __init__(self, text: PackedText, seed: int) -> None:
        """Args:
        text: packed sequences, with the mixture's weights.
        seed: of the order.
        """
        self._text = text
        self._order = SequenceOrder(training_sequences(text), text.weights, seed)

    def take(self, first: int, count: int) -> Tokens:
        """The rows at places first .. first + count - 1; int64 [count, sequence_length + 1]."""
        return training_batch(self._text, self._order, first, count)


class DynamicBatches(Batches):
    """Rows drawn by weights that change every `update_every` steps."""

    def __init__(self, text: PackedText, loader: DynamicBatchLoader, update_every: int) -> None:
        """Args:
        text: packed sequences.
        loader: over the same domains.
        update_every: steps between updates, which the loop counts.
        """
        self._text = text
        self._loader = loader
        self.update_every = update_every

    def take(self, first: int, count: int) -> Tokens:
        """The next rows; `first` is the number taken so far."""
        assert first == sum(self._loader.drawn.values())
        rows = self._loader.take(count)
        return np.stack([self._text.sequence("train", domain, row) for domain, row in rows])

    def update(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Reweigh from held-out losses in nats by domain; the new weights."""
        self._loader.update(losses)
        return self._loader.weights

    def state(self) -> dict[str, Any]:
        """Weights, and rows drawn by domain."""
        return dict(self._loader.state())

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken."""
        self._loader.load_state({"drawn": state["drawn"], "weights": state["weights"]})


def training_sequences(text: PackedText) -> dict[str, int]:
    """The number of training rows by domain."""
    return {domain: text.num_sequences("train", domain) for domain in text.domains}
