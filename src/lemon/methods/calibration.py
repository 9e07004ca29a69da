"""The source, or a model that is not finished yet, on training text, one layer at a time.

A builder that looks at activations gets a `Calibration`. The model is the source under operators,
and a layer's weights are fused when the text reaches it, so a pass holds one layer and the hidden
states of all rows in memory. The text is the beginning of the training text of one order, never
text on which results are reported. Only a choice between whole models, as FF-merge's, reads the
tune text.

Shapes: N rows, T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lemon.architecture import FFN_TYPES, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.configuration.preset import CalibrationSettings
from lemon.data.text.order import SequenceOrder
from lemon.data.text.packing import PackedText, training_batch
from lemon.decoder import Decoder, LayerWeights
from lemon.errors import BadInput
from lemon.logits import in_cache
from lemon.operators.algebra import Operators
from lemon.operators.fuse import fused_layer

Candidate = TypeVar("Candidate")
ROWS = 4  # rows that run through a layer together

Watch = Mapping[str, Callable[[Tensor], None]]
"""By type of matrix, a function of its input, [rows, T, in]."""
UNWATCHED: Watch = {}


@dataclass(frozen=True)
class Calibration:
    """Rows of training text and the model that they run through.

    Attributes:
        tokens_NT1: rows of T + 1 tokens, each predicting T.
        weights_N: share of each row in a loss; they sum to 1.
        search_rows: how many of them score the candidates of a search by their loss.
        dtype: compute format.
        tune: the same on the tune text, for a choice between whole models.
    """

    source: Checkpoint
    tokens_NT1: Tensor
    weights_N: Sequence[float]
    search_rows: int
    dtype: torch.dtype
    device: torch.device
    tune: Calibration | None = None

    @classmethod
    def of_text(
        cls,
        source: Checkpoint,
        text: PackedText,
        settings: CalibrationSettings,
        tune_sequences: int,
        seed: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Calibration:
        """The first rows of the order of `seed` over the training text.

        `tune_sequences` is the number of tune rows of each domain; a domain's share of their loss
        is that in the mixture. BadInput if the text was made for another vocabulary, or has too few
        rows.
        """
        if text.vocab_size != source.shape.vocab_size:
            raise BadInput(
                f"{text.path}: has token ids of a vocabulary of {text.vocab_size}, {source.path} "
                f"one of {source.shape.vocab_size}; prepare the text with this model"
            )
        rows = {domain: text.num_sequences("train", domain) for domain in text.domains}
        if sum(rows.values()) < settings.sequences:
            raise BadInput(
                f"{text.path}: has {sum(rows.values())} training sequences, and "
                f"calibration.sequences asks for {settings.sequences}; ask for fewer"
            )
        order = SequenceOrder(rows, text.weights, seed)
        tokens = torch.from_numpy(training_batch(text, order, 0, settings.sequences))
        numbers = (settings.search_sequences, dtype, device)
        chosen, shares = [], []
        for domain in text.domains:
            rows_of = range(min(tune_sequences, text.num_sequences("tune", domain)))
            chosen += [text.sequence("tune", domain, row) for row in rows_of]
            shares += [text.weights[domain] / len(rows_of)] * len(rows_of)
        tune = cls(source, torch.from_numpy(np.stack(chosen)), shares, *numbers)
        return cls(source, tokens, [1 / len(tokens)] * len(tokens), *numbers, tune)

    @property
    def for_search(self) -> Calibration:
        """The same on the rows of a search alone."""
        rows = self.tokens_NT1[: self.search_rows]
        return replace(self, tokens_NT1=rows, weights_N=[1 / len(rows)] * len(rows))

    @property
    def for_choice(self) -> Calibration:
        """The same on the tune text."""
        assert self.tune is not None
        return self.tune

    @cached_property
    def decoder(self) -> Decoder:
        """The computation of a layer."""
        return Decoder(self.source.config, self.device)

    def embedded(self) -> Tensor:
        """The embedded tokens [N, T, D]."""
        table = self._tensor("model.embed_tokens.weight")
        return functional.embedding(self.tokens_NT1[:, :-1].to(self.device), table)

    def layer(
        self, operators: Operators, index: int, known: LayerWeights | None = None
    ) -> LayerWeights:
        """The weights of one layer of the model that `operators` make of the source.

        They may map layers, heads and neurons, but not the hidden size. `known` are those of its
        weights that are at hand.
        """
        weights = dict(known or {})
        for type, weight in fused_layer(self.source, operators, index, without=weights):
            weights[type] = weight.to(self.device, self.dtype)
            del weight  # the float32 copy goes before the next one is made
        return weights

    @property
    def weights_bound(self) -> int:
        """Bytes that the weights of an unfinished model take at most: less than two layers.

        One layer in the compute format, and beside its largest tensor that of a source layer.
        """
        layer = [spec.num_elements for spec in tensor_specs(self.source.shape) if spec.layer == 0]
        return sum(layer) * self.dtype.itemsize + max(layer) * (4 + self.source.dtype.itemsize)

    @property
    def states_bound(self) -> int:
        """Bytes of the hidden states before and after a layer."""
        rows, length = self.tokens_NT1.shape
        return 2 * rows * (length - 1) * self.source.shape.hidden_size * self.dtype.itemsize

    @torch.no_grad()
    def after(self, hidden_NTD: Tensor, weights: LayerWeights, watch: Watch = UNWATCHED) -> Tensor:
        """The hidden states after one layer; `watch` sees the inputs of some of its matrices."""
        after = torch.empty_like(hidden_NTD)
        with self.decoder.watched(watch):
            for first in range(0, len(hidden_NTD), ROWS):
                rows = slice(first, first + ROWS)
                positions = self.decoder.positions(hidden_NTD[rows])
                after[rows] = self.decoder.layer(hidden_NTD[rows], weights, positions)
        return after

    def through(
        self, operators: Operators, layers: Iterable[int], hidden_NTD: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The hidden states before the first of these layers, then after each, [N, T, D].

        They begin as `hidden_NTD`, or as the embedded tokens.
        """
        hidden = self.embedded() if hidden_NTD is None else hidden_NTD
        windows = operators.tied_ffn
        window: list[int] = []
        shared: LayerWeights = {}  # the FFN of the layer before, where the next ones have it too
        yield hidden
        for index in layers:
            if index not in window:  # dropped before the next layer is fused
                window, shared = next((w for w in windows if index in w), []), {}
            weights = self.layer(operators, index, shared)
            hidden = self.after(hidden, weights)
            shared = {type: weights[type] for type in FFN_TYPES} if window else {}
            del weights
            yield hidden

    def last(
        self, operators: Operators, layers: Iterable[int], hidden_NTD: Tensor | None = None
    ) -> Tensor:
        """The hidden states after the last of these layers; arguments as of `through`."""
        (last,) = deque(self.through(operators, layers, hidden_NTD), maxlen=1)
        return last

    def before_each(self, operators: Operators, layers: Iterable[int]) -> Iterator[Tensor]:
        """The hidden states before each of these layers, which ascend, [N, T, D]."""
        hidden, reached = self.embedded(), 0
        for layer in layers:
            hidden, reached = self.last(operators, range(reached, layer), hidden), layer
            yield hidden

    def loss_after(self, operators: Operators, first: int, hidden_NTD: Tensor) -> float:
        """The loss of a model whose hidden states before layer `first` are given."""
        layers = range(first, operators.target.num_hidden_layers)
        return self.loss(self.last(operators, layers, hidden_NTD))

    @torch.no_grad()
    def loss(self, hidden_NTD: Tensor) -> float:
        """The mean next-token loss in nats, from the hidden states after the last layer."""
        tied = self.source.shape.tie_word_embeddings
        head = self._tensor("model.embed_tokens.weight" if tied else "lm_head.weight")
        gain, total = self._tensor("model.norm.weight"), 0.0
        rows = zip(hidden_NTD, self.tokens_NT1, self.weights_N, strict=True)
        for hidden, tokens, weight in rows:
            logits = self.decoder.final_norm(hidden[None], gain)[0] @ head.T
            labels = tokens[1:].to(self.device)
            losses = [
                functional.cross_entropy(logits_TV, labels_T, reduction="sum")
                for logits_TV, labels_T in in_cache(logits, labels)
            ]
            total += weight * float(torch.stack(losses).sum()) / len(labels)
        return total

    def _tensor(self, name: str) -> Tensor:
        return self.source.tensor(name).to(self.device, self.dtype)


def lowest(losses: Mapping[Candidate, float], method: str) -> Candidate:
    """The first candidate with the lowest finite loss; BadInput if none is finite."""
    finite = {candidate: loss for candidate, loss in losses.items() if math.isfinite(loss)}
    if not finite:
        raise BadInput(
            f"method {method}: the loss of every candidate is not finite on the calibration text; "
            "use a source and a number format in which the source itself has a finite loss"
        )
    return min(finite, key=finite.__getitem__)


def cosines(first_NTD: Tensor, second_NTD: Tensor) -> Tensor:
    """The cosine of the hidden states of each token, [N, T] float64.

    It is 1 where both are zero and 0 where one is. BadInput if a hidden state is not finite.
    """
    rows = zip(first_NTD.split(ROWS), second_NTD.split(ROWS), strict=True)
    return torch.cat([_cosines(first.double(), second.double()) for first, second in rows])


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    """Of a few rows, in float64."""
    length, other = first.norm(dim=-1), second.norm(dim=-1)
    lengths = length * other
    if not lengths.isfinite().all():
        raise BadInput("the model's hidden states are not finite on the calibration text")
    found = torch.where(lengths > 0, (first * second).sum(-1) / lengths.clamp(min=1e-300), 0.0)
    return torch.where(length + other == 0, 1.0, found)
