"""The numbers and text of Table 5: parameters of all models, computed and counted."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pandas as pd

from lemon.published.models import SOURCE_MODEL, published_shape
from lemon.reporting.facts.model_sizes import ModelLine, counted_parameters
from lemon.reporting.numbers import count, percent, signed, signed_count
from lemon.reporting.tables.document import Group, Section, WordedTable, numbers, words

COLUMNS = [
    *words("Model", "Target"),
    *numbers("Hidden size", "FFN", "Query heads", "KV heads", "Head size", "Layers", "Parameters"),
    *numbers("Share of source", "Paper: parameters", "Difference", "Paper: share"),
    *numbers("Difference, points"),
]


def model_sizes_table(lines: list[ModelLine]) -> WordedTable:
    """The table of all models."""
    groups = [
        Group(heading, [_cells(line) for line in own]) for heading, own in groupby(lines, _heading)
    ]
    return WordedTable(
        pd.DataFrame([_tidy(line) for line in lines]).convert_dtypes(),
        subtitle="Computed from the shapes and counted on Hugging Face's models; the two agree for "
        f"all {len(lines)} lines",
        sections=[Section("Models", COLUMNS, groups, drawn=True)],
        notes=_notes(lines),
    )


def _tidy(line: ModelLine) -> dict[str, Any]:
    """A line of the CSV; shares are fractions, and columns of the paper's row may be missing."""
    shape, paper = line.shape, line.published
    tidy = {
        "preset": line.preset or None,
        "model": line.model,
        "target": line.target or None,
        **shape.sizes(),
        "parameters": shape.num_parameters,
        "parameters_counted": counted_parameters(shape),
        "share_of_source": round(line.share, 6),
    }
    if paper is None:
        return tidy
    return tidy | {
        "published_model": paper.name,
        "published_hidden_size": paper.shape.hidden_size,
        "published_intermediate_size": paper.shape.intermediate_size,
        "published_attention_heads": paper.shape.num_attention_heads,
        "published_hidden_layers": paper.shape.num_hidden_layers,
        "published_parameters": paper.parameters,
        "parameters_difference": line.difference,
        "published_share": paper.share,
        "share_difference": round(line.share - paper.share, 4),
    }


def _heading(line: ModelLine) -> str:
    return f"{line.group}, preset {line.preset}" if line.preset else f"{line.group}, in no preset"


def _cells(line: ModelLine) -> list[str]:
    shape, paper = line.shape, line.published
    difference = line.difference
    return [
        line.model.removesuffix(f", {line.target}"),
        line.target,
        *map(str, (shape.hidden_size, shape.intermediate_size)),
        *map(str, (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim)),
        str(shape.num_hidden_layers),
        count(shape.num_parameters),
        percent(line.share, 2),
        "" if paper is None or difference is None else count(paper.parameters),
        "" if difference is None else signed_count(difference),
        percent(paper.share, 2) if paper else "",
        signed(100 * (line.share - paper.share), 2) if paper else "",
    ]


def _notes(lines: list[ModelLine]) -> list[str]:
    source, narrow, small, half = map(
        published_shape,
        (SOURCE_MODEL, "LEMON-Horizontal-37.5%", "LEMON-2.7B", "LEMON-Horizontal-50%"),
    )
    exact, ffn = source.intermediate_size * 5 // 8, narrow.intermediate_size
    same = "are the same shape" if narrow == small else "differ in shape"
    share = narrow.num_parameters / source.num_parameters
    return [
        "The paper prints sizes. The parameters beside ours are those that its printed sizes give "
        "(published/table5.csv); in the presets of other sources only the shares can be compared, "
        "and the paper's share is that of its own model for the same target.",
        f"Section 4.4 speaks of 62.5 % of the dimensions. {narrow.hidden_size} of "
        f"{source.hidden_size} and {narrow.num_attention_heads} of "
        f"{source.num_attention_heads} heads are that, {ffn} of {source.intermediate_size} is "
        f"{percent(ffn / source.intermediate_size)}: {exact} is rounded up to a multiple of 128. "
        f"Parameters fall to {percent(share)}, not to 62.5 % (E41).",
        f"LEMON-Horizontal -37.5 % and LEMON-2.7B {same} ({count(small.num_parameters)} "
        "parameters): Table 4 is the 2.7B model without its pre-training. Horizontal -50 % "
        f"({count(half.num_parameters)} parameters) has no result in any table (E42).",
        "LLaMA2-13B is in the paper's figures of similarity only; it is narrowed here by the same "
        "rule, for Table 1.",
        "A head that is the embedding is counted once. What holds the vocabulary keeps its length "
        "in every target, so that sources in which it weighs more keep a larger share: "
        + ", ".join(
            f"{percent(1 - shape.parameters_without_vocabulary / shape.num_parameters)} of {group}"
            for group, shape in {line.group: line.source for line in lines}.items()
        )
        + ".",
    ]
