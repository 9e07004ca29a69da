"""Dynamic batch loading: domains whose loss is above its reference are loaded more often.

Sheared LLaMA (Xia et al., arXiv 2310.06694, section 2.2). Every m steps (counted by the training
loop) the mixture shifts to the domains whose held-out loss is furthest above its reference, the
loss expected of a model of that size. Rows drawn afterwards follow the new mixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.special import softmax

from lemon.data.text.order import BLOCK, RandomRows, mixture_shares
from lemon.errors import BadInput


def updated_weights(
    weights: Mapping[str, float],
    losses: Mapping[str, float],
    references: Mapping[str, float],
    *,
    clip: bool,
    smoothing: float,
) -> dict[str, float]:
    """The mixture after one update: w exp(delta), normalised, then (1 - c) w + c / k.

    The result sums to one. It is computed in logarithms, so that a loss far above its reference
    does not overflow.

    Args:
        weights: of the k domains, positive, up to a common factor.
        losses, references: held-out and reference loss by domain, in nats.
        clip: delta = max(loss - reference, 0) as in the paper, so that a domain already below its
            reference does not lose weight twice; else delta = loss - reference, as in the public
            code.
        smoothing: c, the share spread evenly; 1e-4 in the public code and 0 in the paper. With 0 a
            weight may vanish.

    Raises:
        BadInput: a loss is not finite.
    """
    domains = list(weights)
    before = mixture_shares(weights, domains)
    delta = np.array([losses[domain] - references[domain] for domain in domains])
    if not np.isfinite(delta).all():
        raise BadInput(f"held-out losses {losses}, reference losses {references}: not all finite")
    if clip:
        delta = np.maximum(delta, 0.0)
    after = (1 - smoothing) * softmax(np.log(before) + delta) + smoothing / len(domains)
    return dict(zip(domains, after.tolist(), strict=True))


class DynamicBatchLoader(RandomRows):
    """The endless order of training rows with a mixture that follows the losses.

    It uses the same random numbers as `SequenceOrder` and gives the same rows until the weights
    change. The next row depends only on the seed, the number of rows drawn from each domain and the
    weights, so a resumed run continues exactly.
    """

    def __init__(
        self,
        num_sequences: Mapping[str, int],
        weights: Mapping[str, float],
        seed: int,
        *,
        references: Mapping[str, float],
        clip: bool,
        smoothing: float,
    ) -> None:
        """An order as `SequenceOrder`, from `weights` on, updated as by `updated_weights`.

        BadInput if a domain has no reference.
        """
        super().__init__(num_sequences, seed)
        if lacking := [domain for domain in self.domains if domain not in references]:
            raise BadInput(f"reference losses: none for {', '.join(lacking)}, domains of the text")
        self._block_uniforms = lru_cache(maxsize=1)(self.uniforms)
        self._drawn = dict.fromkeys(self.domains, 0)
        self._rule = partial(
            updated_weights, references=dict(references), clip=clip, smoothing=smoothing
        )
        self.reweigh(weights)

    @property
    def weights(self) -> dict[str, float]:
        """Share of the next rows by domain; they sum to one."""
        return dict(zip(self.domains, self._shares.tolist(), strict=True))

    @property
    def drawn(self) -> dict[str, int]:
        """Rows drawn so far by domain: the mixture actually loaded."""
        return dict(self._drawn)

    def update(self, losses: Mapping[str, float]) -> None:
        """Update the mixture from the held-out losses by domain, in nats.

        BadInput if one is not finite; the old weights stay.
        """
        self.reweigh(self._rule(self.weights, losses))

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """Use these weights, given up to a common factor, for all following rows."""
        self._shares = mixture_shares(weights, self.domains)
        self._bounds = np.cumsum(self._shares)[:-1]
        self._given = {domain: float(weights[domain]) for domain in self.domains}

    def take(self, count: int) -> list[tuple[str, int]]:
        """The next `count` training rows, each as (domain, row)."""
        first = sum(self._drawn.values())
        return [self._next(place) for place in range(first, first + count)]

    def _next(self, place: int) -> tuple[str, int]:
        block, offset = divmod(place, BLOCK)
        uniform = self._block_uniforms(block)[offset]
        domain = self.domains[int(np.searchsorted(self._bounds, uniform, side="right"))]
        row = self.row(domain, self._drawn[domain])
        self._drawn[domain] += 1
        return domain, row

    def state(self) -> dict[str, Any]:
        """For a checkpoint, the rows drawn by domain and the weights as they were last given."""
        return {"drawn": self.drawn, "weights": dict(self._given)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`, with the same seed and text."""
        # The weights as given, not the shares: normalising twice may change the last bit.
        self.reweigh(state["weights"])
        self._drawn = {domain: state["drawn"][domain] for domain in self.domains}
