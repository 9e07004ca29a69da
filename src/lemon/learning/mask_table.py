"""The learned masks as a table that people can open."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch

from lemon.files.storage import write_text
from lemon.learning.masks import Masks

COLUMNS = ("structure", "layer", "unit", "log_alpha", "keep_probability", "gate", "kept")


@torch.no_grad()
def write_masks(path: Path, masks: Masks) -> None:
    """Write one line a gate.

    `structure` is layer, hidden, head or ffn; `layer` the source layer of a head or neuron, empty
    for the others; `unit` the index inside the structure; `gate` the settled value, which is 0
    unless the unit is kept.

    Raises:
        BadInput, WorkFailed: the file can't be written.
    """
    probabilities, gates = masks.keep_probabilities(), masks.settled(at_target=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, structure in masks.structures.items():
        values = [masks.log_alpha[name], probabilities[name], gates[name]]
        rows = zip(*(value.reshape(-1, structure.size).tolist() for value in values), strict=True)
        for layer, row in enumerate(rows):
            place = "" if structure.rows is None else layer
            for unit, (log_alpha, probability, gate) in enumerate(zip(*row, strict=True)):
                numbers = [f"{value:.6g}" for value in (log_alpha, probability, gate)]
                writer.writerow([name, place, unit, *numbers, int(gate > 0)])
    write_text(path, text.getvalue())
