"""The held-out loss of a student in the middle of learning."""

from __future__ import annotations

import numpy as np
import torch

from lemon.data.text.packing import PackedText
from lemon.learning.student import FusedStudent
from lemon.training.objective import language_model_loss


@torch.no_grad()
def heldout_losses(
    student: FusedStudent,
    text: PackedText,
    *,
    sequences: int,
    batch_sequences: int,
    chunk_tokens: int,
    device: torch.device,
) -> dict[str, float]:
    """Mean next-token loss in nats by domain, over the first held-out sequences.

    Args:
        student: the fused model as it stands.
        text: with a held-out split.
        sequences: of each domain, or all where there are fewer.
        batch_sequences: in one forward pass.
        chunk_tokens: rows whose logits exist at once.
        device: of the student.
    """
    losses = {}
    head = student.head_weight()
    for domain in text.domains:
        count = min(sequences, text.num_sequences("heldout", domain))
        total = 0.0
        for first in range(0, count, batch_sequences):
            rows = range(first, min(first + batch_sequences, count))
            batch = np.stack([text.sequence("heldout", domain, row) for row in rows])
            tokens = torch.from_numpy(batch).to(device)
            hidden = student(tokens[:, :-1]).flatten(0, 1)
            loss = language_model_loss(
                hidden, head, tokens[:, 1:].flatten(), chunk_tokens=chunk_tokens
            )
            total += loss * len(rows)
        losses[domain] = total / count
    return losses
