"""The models of the paper, read from `published/table5.csv`."""

from __future__ import annotations

import csv
from importlib.resources import files

from lemon.architecture import LlamaShape
from lemon.errors import BadInput

SOURCE_MODEL = "LLaMA-7B"

# The model of Table 5 that a symbolic target stands for.
TARGET_MODELS = {
    "depth-75": "LEMON-Vertical-24",
    "depth-50": "LEMON-Vertical-16",
    "width-62": "LEMON-Horizontal-37.5%",
    "small": "LEMON-1.3B",
}

VOCABULARY = 32_000  # of LLaMA2, which Table 5 leaves out; its head is no copy of the embedding


def published_shape(model: str) -> LlamaShape:
    """The sizes of a model of Table 5; every head has its own key and value.

    Raises:
        BadInput: the table has no such model.
    """
    file = files("lemon") / "published" / "table5.csv"
    with file.open(encoding="utf-8") as lines:
        rows = {row["model"]: row for row in csv.DictReader(lines)}
    if model not in rows:
        raise BadInput(f"published/table5.csv: no model {model!r}; it has {', '.join(rows)}")
    row = rows[model]
    heads = int(row["attention_heads"])
    return LlamaShape(
        num_hidden_layers=int(row["hidden_layers"]),
        hidden_size=int(row["hidden_size"]),
        intermediate_size=int(row["intermediate_size"]),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=int(row["hidden_size"]) // heads,
        vocab_size=VOCABULARY,
    )


def published_target(target: str | None) -> LlamaShape | None:
    """The sizes that the paper has for a symbolic target, its source for none; None if unknown."""
    if target is None:
        return published_shape(SOURCE_MODEL)
    return published_shape(TARGET_MODELS[target]) if target in TARGET_MODELS else None
