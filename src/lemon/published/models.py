"""The models of the paper, read from `published/table5.csv`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from lemon.architecture import LlamaShape
from lemon.errors import BadInput
from lemon.published.tables import published_table

SOURCE_MODEL = "LLaMA-7B"

# Symbolic target -> model of Table 5.
TARGET_MODELS = {
    "depth-75": "LEMON-Vertical-24",
    "depth-50": "LEMON-Vertical-16",
    "width-62": "LEMON-Horizontal-37.5%",
    "small": "LEMON-1.3B",
}

VOCABULARY = 32_000  # of LLaMA2, not given in Table 5; its head is not tied to the embedding

LLAMA2_13B_LABEL = "LLaMA2-13B"
LLAMA2_13B = LlamaShape(
    num_hidden_layers=40,
    hidden_size=5120,
    intermediate_size=13824,
    num_attention_heads=40,
    num_key_value_heads=40,
    head_dim=128,
    vocab_size=32000,
)


@dataclass(frozen=True)
class PublishedModel:
    """A row of Table 5: name, printed sizes, and the parameters and share computed from them."""

    name: str
    shape: LlamaShape
    parameters: int
    share: float


@cache
def published_models() -> dict[str, PublishedModel]:
    """The rows of Table 5 by name, in its order; no model has grouped-query attention."""
    models = {}
    for row in published_table("table5"):
        heads = int(row["attention_heads"])
        shape = LlamaShape(
            num_hidden_layers=int(row["hidden_layers"]),
            hidden_size=int(row["hidden_size"]),
            intermediate_size=int(row["intermediate_size"]),
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=int(row["hidden_size"]) // heads,
            vocab_size=VOCABULARY,
        )
        parameters, share = int(row["calc_params"]), float(row["calc_params_vs_7b"])
        models[row["model"]] = PublishedModel(row["model"], shape, parameters, share)
    return models


def published_shape(model: str) -> LlamaShape:
    """The sizes of a model of Table 5.

    Raises:
        BadInput: the table has no such model.
    """
    models = published_models()
    if model not in models:
        raise BadInput(f"published/table5.csv: no model {model!r}; it has {', '.join(models)}")
    return models[model].shape


def published_target(target: str | None) -> LlamaShape | None:
    """The paper's sizes for a symbolic target, or for its source if None; None if unknown."""
    if target is None:
        return published_shape(SOURCE_MODEL)
    return published_shape(TARGET_MODELS[target]) if target in TARGET_MODELS else None


def narrowed(source: LlamaShape, eighths: int = 5, multiple: int = 128) -> LlamaShape:
    """Widths cut to `eighths`/8 and rounded up to a multiple of `multiple`, heads to whole heads.

    Section 4.4 says 62.5 % (5/8) of the dimensions; its sizes follow from rounding up to a multiple
    of 128, the head size: 11008 becomes 6912, not 6880.
    """

    def cut(size: int, whole: int) -> int:
        return -(-size * eighths // (8 * whole)) * whole

    return replace(
        source,
        hidden_size=cut(source.hidden_size, multiple),
        intermediate_size=cut(source.intermediate_size, multiple),
        num_attention_heads=cut(source.num_attention_heads, 1),
        num_key_value_heads=cut(source.num_key_value_heads, 1),
    )
