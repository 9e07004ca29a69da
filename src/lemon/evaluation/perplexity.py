"""Held-out perplexity, by domain and over the mixture.

    loss_d = mean over the predicted tokens of domain d of -log p(token | the tokens before it)
    perplexity_d = exp(loss_d)            perplexity = exp(sum_d w_d loss_d),  sum_d w_d = 1

with w the weights of the training mixture. All domains have the same number of held-out sequences;
the weights give the loss on text drawn from the mixture, as the paper's held-out set is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.prefix_lm import token_log_likelihoods
from lemon.perplexity import mixture_loss, perplexity_of
from lemon.progress import ProgressLine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lemon.data.text.packing import PackedText

TOKENS_A_PASS = 2048  # fixed, so that the result does not depend on the batch size of the tasks


def heldout_perplexity(
    model: PreTrainedModel, text: PackedText, sequences: int | None = None
) -> dict[str, Any]:
    """Score a model on the first `sequences` held-out sequences of each domain; None for all.

    Returns {"perplexity", "loss" (nats a token), "domains": {name: {"perplexity", "loss", "tokens",
    "weight"}}}. BadInput if the text was tokenised for another vocabulary or a domain has no
    sequences, WorkFailed if a loss isn't finite.
    """
    if text.vocab_size > model.config.vocab_size:
        raise BadInput(
            f"the held-out text has token ids up to {text.vocab_size - 1} and the model "
            f"{model.config.vocab_size} words; prepare the text with the model's tokenizer"
        )
    domains: dict[str, dict[str, float]] = {}
    for domain in text.domains:
        rows = text.num_sequences("heldout", domain)
        rows = rows if sequences is None else min(rows, sequences)
        if not rows:
            raise BadInput(f"domain {domain} has no held-out sequences; prepare the text again")
        loss = _domain_loss(model, text, domain, rows)
        if not math.isfinite(loss):
            raise WorkFailed(f"the held-out loss on {domain} is {loss}; the model is broken")
        domains[domain] = {
            "loss": loss,
            "perplexity": perplexity_of(loss),
            "tokens": rows * text.sequence_length,
            "weight": text.weights[domain],
        }
    loss = mixture_loss({name: domain["loss"] for name, domain in domains.items()}, text.weights)
    return {"loss": loss, "perplexity": perplexity_of(loss), "domains": domains}


@torch.inference_mode()
def _domain_loss(model: PreTrainedModel, text: PackedText, domain: str, rows: int) -> float:
    """Mean loss in nats over the predicted tokens of a domain's first `rows` sequences."""
    progress = ProgressLine(f"held-out {domain}", "sequence", rows)
    rows_a_pass = max(1, TOKENS_A_PASS // text.sequence_length)
    total = 0.0
    for first in range(0, rows, rows_a_pass):
        several = range(first, min(first + rows_a_pass, rows))
        sequences = np.stack([text.sequence("heldout", domain, row) for row in several])
        tokens = torch.from_numpy(sequences).to(model.device)
        hidden = model.base_model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        values, _ = token_log_likelihoods(
            model.get_output_embeddings(), hidden.flatten(0, 1), tokens[:, 1:].flatten()
        )
        total -= float(values.double().sum())
        progress.show(several.stop)
    return total / (rows * text.sequence_length)
