"""The losses by domain on the tune text, of any model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lemon.configuration.learning_settings import TrainingSettings
from lemon.data.text.packing import PackedText
from lemon.training.processes import ALONE, Processes


@torch.no_grad()
def tune_losses(
    loss_of: Callable[[Tensor], float],
    text: PackedText,
    settings: TrainingSettings,
    device: torch.device,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Mean next-token loss in nats by domain, over the first tune sequences.

    `loss_of` returns the mean loss of tokens [B, T + 1] on `device`, for B up to a microbatch. The
    `processes` share the microbatches, and all return the same losses. Weights that are divided are
    gathered by all processes in each pass, so one that has no microbatch left repeats an earlier
    one.
    """
    size = settings.microbatch_sequences
    counts = {
        domain: min(settings.tune_sequences, text.num_sequences("tune", domain))
        for domain in text.domains
    }
    parts = [
        (domain, range(first, min(first + size, count)))
        for domain, count in counts.items()
        for first in range(0, count, size)
    ]
    sums = torch.zeros(len(parts), dtype=torch.float64, device=device)
    for own in range(processes.rank, len(parts) + processes.rank, processes.count):
        part = own % len(parts)
        domain, rows = parts[part]
        batch = np.stack([text.sequence("tune", domain, row) for row in rows])
        loss = loss_of(torch.from_numpy(batch).to(device)) * len(rows)
        if own < len(parts):
            sums[part] = loss
    processes.sum(sums)
    totals = dict.fromkeys(counts, 0.0)
    for (domain, _), loss in zip(parts, sums.tolist(), strict=True):
        totals[domain] += loss
    return {domain: total / counts[domain] for domain, total in totals.items()}
