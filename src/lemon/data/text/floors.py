"""Floors of perplexity: what a model reaches that knows only how often tokens occur.

With V the vocabulary size and c the counts of the N predicted tokens of the training text,

    uniform     p(v)     = 1 / V
    unigram     p(v)     = (c(v) + a) / (N + a V)
    bigram      p(v | u) = (c(u, v) + b p_unigram(v)) / (c(u) + b)

(MacKay and Peto 1995). Each domain counts with its weight in the mixture. The smoothing constants
a and b minimise the loss on the tune text.

Shapes: R rows of a domain, T predicted tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array
from typing_extensions import TypedDict

from lemon.perplexity import mixture_loss

FLOORS = "floors.json"
COUNTED = 4_000_000  # tokens of a domain's training text, at most
LOG_SMOOTHING = (-12.0, 12.0)  # bounds of log a and log b

Rows = Mapping[str, NDArray[np.integer]]
"""Rows of token ids by domain, [R, T + 1]."""


class Floor(TypedDict):
    """Losses in nats a token over the mixture of domains, and the smoothing constant, if any."""

    tune_loss: float
    heldout_loss: float
    smoothing: float | None


def floors(
    rows: Mapping[str, Rows], weights: Mapping[str, float], vocab_size: int
) -> dict[str, Floor]:
    """The floors `uniform`, `unigram` and `bigram`.

    Args:
        rows: of the splits train, tune and heldout.
        weights: share of each domain; they sum to one.
        vocab_size: V.
    """
    train = {name: _pairs(several, COUNTED) for name, several in rows["train"].items()}
    total = sum(len(predicted) for _, predicted in train.values())
    lengths = [len(predicted) for _, predicted in train.values()]
    weight = np.repeat([weights[name] * total / len(v) for name, (_, v) in train.items()], lengths)
    before, predicted = (np.concatenate(tokens) for tokens in zip(*train.values(), strict=True))
    del train  # each array counts here: the tokens of all domains are many
    count = np.bincount(predicted, weight, minlength=vocab_size)
    count_before = np.bincount(before, weight, minlength=vocab_size)
    count_pair = coo_array((weight, (before, predicted)), shape=(vocab_size, vocab_size)).tocsr()

    asked = {
        split: {name: _pairs(several) for name, several in rows[split].items()}
        for split in ("tune", "heldout")
    }

    def fitted(model: Callable[[float, str, str], NDArray[np.floating[Any]]]) -> Floor:
        def loss(log_smoothing: float, split: str) -> float:
            probability = {name: model(math.exp(log_smoothing), split, name) for name in weights}
            by_domain = {name: -float(np.log(p).mean()) for name, p in probability.items()}
            return mixture_loss(by_domain, weights)

        best = minimize_scalar(loss, bounds=LOG_SMOOTHING, args=("tune",), method="bounded").x
        return {
            "tune_loss": loss(best, "tune"),
            "heldout_loss": loss(best, "heldout"),
            "smoothing": math.exp(best),
        }

    def unigram(smoothing: float, split: str, domain: str) -> NDArray[np.floating[Any]]:
        _, v = asked[split][domain]
        return (count[v] + smoothing) / (total + smoothing * vocab_size)

    frequencies = fitted(unigram)
    a = frequencies["smoothing"]
    assert a is not None
    pairs = {
        (split, name): (count_pair[u, v], unigram(a, split, name), count_before[u])
        for split, domains in asked.items()
        for name, (u, v) in domains.items()
    }

    def bigram(smoothing: float, split: str, domain: str) -> NDArray[np.floating[Any]]:
        both, alone, first = pairs[split, domain]
        return (both + smoothing * alone) / (first + smoothing)

    uniform = math.log(vocab_size)
    return {
        "uniform": {"tune_loss": uniform, "heldout_loss": uniform, "smoothing": None},
        "unigram": frequencies,
        "bigram": fitted(bigram),
    }


def _pairs(
    rows: NDArray[np.integer], most: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The tokens before, and the predicted tokens, of at most `most` places of rows [R, T + 1]."""
    if most is not None:
        rows = rows[: max(1, most // (rows.shape[1] - 1))]
    tokens = np.asarray(rows, dtype=np.int32)
    return tokens[:, :-1].ravel(), tokens[:, 1:].ravel()
