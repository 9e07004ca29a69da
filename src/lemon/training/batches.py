"""The training rows of a run, from a mixture of domains.

While masks train, the mixture follows the losses by domain as in Sheared-LLaMA; otherwise it is
fixed (method.md, section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lemon.configuration.learning_settings import LoadingSettings
from lemon.data.text.dynamic_batch_loading import DynamicBatchLoader
from lemon.data.text.order import SequenceOrder, Tokens
from lemon.data.text.packing import PackedText, training_batch
from lemon.data.text.reference_losses import scaling_law_references


class Batches:
    """The training rows of a run, by a fixed mixture.

    Rows are a function of seed and index: runs with the same text and seed get the same rows.
    """

    update_every: int | None = None  # steps between updates of the mixture; None: no updates

    def __init__(self, text: PackedText, seed: int) -> None:
        """`seed` is that of the order; `text` has the packed sequences and the mixture."""
        self._text = text
        self._order = SequenceOrder(_training_sequences(text), text.weights, seed)

    def take(self, first: int, count: int) -> Tokens:
        """The rows first, ..., first + count - 1: int64 [count, sequence_length + 1]."""
        return training_batch(self._text, self._order, first, count)

    def update(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Update the mixture from tune losses in nats by domain; returns the new weights."""
        return {}

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint; empty if rows depend only on their index."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a stored state."""


class DynamicBatches(Batches):
    """Rows drawn by weights that change every `update_every` steps."""

    def __init__(
        self,
        text: PackedText,
        seed: int,
        loading: LoadingSettings,
        references: Mapping[str, float],
    ) -> None:
        """`loading` says how to update, `references` the target loss of each domain in nats."""
        self._text = text
        self._loader = DynamicBatchLoader(
            _training_sequences(text),
            text.weights,
            seed,
            references=references,
            clip=loading.clip,
            smoothing=loading.smoothing,
        )
        self.update_every = loading.update_every

    def take(self, first: int, count: int) -> Tokens:
        """The next rows; `first` must be the number taken so far."""
        assert first == sum(self._loader.drawn.values())
        rows = self._loader.take(count)
        return np.stack([self._text.sequence("train", domain, row) for domain, row in rows])

    def update(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Update the mixture from tune losses in nats by domain; returns the new weights."""
        self._loader.update(losses)
        return self._loader.weights

    def state(self) -> dict[str, Any]:
        """The weights and the number of rows drawn from each domain."""
        return self._loader.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a stored state."""
        self._loader.load_state(state)


def batches_of(
    text: PackedText,
    seed: int,
    loading: LoadingSettings | None,
    *,
    num_parameters: int,
    source_losses: Callable[[], Mapping[str, float]],
) -> Batches:
    """The training rows of a run.

    Args:
        text: packed sequences.
        seed: seed of the order.
        loading: settings of the updates; None for a fixed mixture.
        num_parameters: of the run's final model, for the scaling law.
        source_losses: measures the source model's tune losses; called only if they are the
            references.
    """
    if loading is None or loading.update_every is None:
        return Batches(text, seed)
    if loading.reference == "scaling-law":
        references: Mapping[str, float] = scaling_law_references(num_parameters)
    else:
        references = source_losses()
    return DynamicBatches(text, seed, loading, references)


def _training_sequences(text: PackedText) -> dict[str, int]:
    return {domain: text.num_sequences("train", domain) for domain in text.domains}
