"""Held-out perplexity, by domain and over the mixture, as it is and at the best temperature.

    loss_d = mean over the predicted tokens of domain d of -log p(token | the tokens before it)
    perplexity_d = exp(loss_d)            perplexity = exp(sum_d w_d loss_d),  sum_d w_d = 1

with w the weights of the training mixture. All domains have the same number of held-out sequences;
the weights give the loss on text drawn from the mixture, as the paper's held-out set is.

Part of a perplexity is calibration: p is the softmax of logits / temperature, and the temperature
that minimises the loss on the tune text (Guo et al. 2017) gives the calibrated perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss

from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.prefix_lm import HEAD_ROWS
from lemon.logits import in_cache
from lemon.perplexity import mixture_loss, perplexity_of
from lemon.progress import ProgressLine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lemon.data.text.packing import PackedText

TOKENS_A_PASS = 2048  # fixed, so that the result does not depend on the batch size of the tasks
# Logits of the tune text to fit the temperature on: 2,304 tokens at a vocabulary of 49,152, 256 MB
# in bfloat16.
FITTED_LOGITS = 2**27
LOG_TEMPERATURE = (math.log(0.05), math.log(50.0))


@torch.inference_mode()
def heldout_perplexity(
    model: PreTrainedModel, text: PackedText, sequences: int | None = None
) -> dict[str, Any]:
    """Score a model on the first `sequences` held-out sequences of each domain; None for all."""
    text.require_vocabulary(model.config.vocab_size)
    temperature = best_temperature(model, text)
    domains: dict[str, dict[str, Any]] = {}
    for domain in text.domains:
        rows = text.num_sequences("heldout", domain)
        rows = rows if sequences is None else min(rows, sequences)
        if not rows:
            raise BadInput(f"domain {domain} has no held-out sequences; prepare the text again")
        losses = _sequence_losses(model, text, domain, rows, (1.0, temperature))
        loss, calibrated = losses.mean(axis=1).tolist()
        if not math.isfinite(loss + calibrated):
            raise WorkFailed(f"the held-out loss on {domain} is {loss}; the model is broken")
        domains[domain] = {
            "loss": loss,
            "perplexity": perplexity_of(loss),
            "calibrated_loss": calibrated,
            "tokens": rows * text.sequence_length,
            "weight": text.weights[domain],
            "losses": losses[0].tolist(),
            "calibrated_losses": losses[1].tolist(),
            "documents": text.documents("heldout", domain)[:rows],
        }
    loss, calibrated = (
        mixture_loss({name: domain[kind] for name, domain in domains.items()}, text.weights)
        for kind in ("loss", "calibrated_loss")
    )
    return {
        "loss": loss,
        "perplexity": perplexity_of(loss),
        "temperature": temperature,
        "calibrated_loss": calibrated,
        "calibrated_perplexity": perplexity_of(calibrated),
        "domains": domains,
    }


def best_temperature(model: PreTrainedModel, text: PackedText) -> float:
    """The temperature with the lowest loss on the first tune sequences of each domain.

    WorkFailed if the loss isn't finite.
    """
    row_logits = len(text.domains) * text.sequence_length * model.config.vocab_size
    logits: list[tuple[float, Tensor, Tensor]] = []
    for domain in text.domains:
        rows = min(max(1, FITTED_LOGITS // row_logits), text.num_sequences("tune", domain))
        share = text.weights[domain] / (rows * text.sequence_length)
        for _, tokens, hidden in _passes(model, text, "tune", domain, rows):
            targets = tokens.flatten().split(HEAD_ROWS)
            heads = map(model.get_output_embeddings(), hidden.split(HEAD_ROWS))
            logits += [(share, *pair) for pair in zip(heads, targets, strict=True)]

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return sum(share * _summed(_token_losses(z, y, temperature)) for share, z, y in logits)

    if not math.isfinite(loss(0.0)):
        raise WorkFailed("the loss on the tune text is not finite; the model is broken")
    return math.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded").x)


def _sequence_losses(
    model: PreTrainedModel,
    text: PackedText,
    domain: str,
    rows: int,
    temperatures: Sequence[float],
) -> NDArray[np.float64]:
    """Mean loss in nats of a domain's first held-out sequences, [temperatures, rows]."""
    progress = ProgressLine(f"held-out {domain}", "sequence", rows)
    losses = np.empty((len(temperatures), rows))
    for several, tokens, hidden in _passes(model, text, "heldout", domain, rows):
        values = []
        for part, targets in zip(
            hidden.split(HEAD_ROWS), tokens.flatten().split(HEAD_ROWS), strict=True
        ):
            logits = model.get_output_embeddings()(part)
            values.append(torch.stack([_token_losses(logits, targets, t) for t in temperatures]))
        by_row = torch.cat(values, dim=1).double().view(len(temperatures), len(several), -1)
        losses[:, several.start : several.stop] = by_row.mean(dim=2).cpu().numpy()
        progress.show(several.stop)
    return losses


def _token_losses(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The loss in nats of each target, [tokens] float32, from logits [tokens, vocabulary]."""
    parts = in_cache(logits, targets)
    return torch.cat([cross_entropy(z / temperature, y, reduction="none") for z, y in parts])


def _summed(losses: Tensor) -> float:
    """Their sum as `cross_entropy(reduction="sum")` of all rows at once has it, to the last bit.

    Outcomes were scored so before; another order of adding moved a temperature by 0.05 %.
    """
    chosen = torch.zeros(len(losses), dtype=torch.long, device=losses.device)
    return nll_loss(-losses[:, None], chosen, reduction="sum").item()


def _passes(
    model: PreTrainedModel, text: PackedText, split: str, domain: str, rows: int
) -> Iterator[tuple[range, Tensor, Tensor]]:
    """A domain's first rows in passes: their indices, predicted tokens, and last hidden states.

    The tokens are [rows of the pass, T], the hidden states [rows of the pass * T, hidden_size].
    """
    rows_a_pass = max(1, TOKENS_A_PASS // text.sequence_length)
    for first in range(0, rows, rows_a_pass):
        several = range(first, min(first + rows_a_pass, rows))
        packed = np.stack([text.sequence(split, domain, row) for row in several])
        tokens = torch.from_numpy(packed).to(model.device)
        hidden = model.base_model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        yield several, tokens[:, 1:], hidden.flatten(0, 1)
