"""Held-out losses by domain during training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lemon.data.text.packing import PackedText


@torch.no_grad()
def heldout_losses(
    loss_of: Callable[[Tensor], float],
    text: PackedText,
    *,
    sequences: int,
    batch_sequences: int,
    device: torch.device,
) -> dict[str, float]:
    """Mean next-token loss in nats by domain, over the first held-out sequences.

    Args:
        loss_of: returns the mean loss of tokens [B, T + 1].
        text: packed text with a held-out split.
        sequences: the number for each domain; all if there are fewer.
        batch_sequences: B, sequences in one forward pass.
        device: device of the tokens.
    """
    losses = {}
    for domain in text.domains:
        count = min(sequences, text.num_sequences("heldout", domain))
        total = 0.0
        for first in range(0, count, batch_sequences):
            rows = range(first, min(first + batch_sequences, count))
            batch = np.stack([text.sequence("heldout", domain, row) for row in rows])
            total += loss_of(torch.from_numpy(batch).to(device)) * len(rows)
        losses[domain] = total / count
    return losses
