"""The text of Table 5: parameters of all models, computed and counted."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.published.models import SOURCE_MODEL, published_shape
from lemon.reporting.numbers import count, percent, signed, signed_count
from lemon.reporting.tables.document import Group, Section, WordedTable, numbers, words

SIZES = [
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "num_hidden_layers"),
]
COLUMNS = [
    *words("Model", "Target"),
    *numbers("Hidden size", "FFN", "Query heads", "KV heads", "Head size", "Layers", "Parameters"),
    *numbers("Share of source", "Paper: parameters", "Difference", "Paper: share"),
    *numbers("Difference, points"),
]


def model_sizes_table(facts: tuple[pd.DataFrame, dict[str, LlamaShape]]) -> WordedTable:
    """The table of all models, from the lines and the sources of `model_sizes`."""
    frame, sources = facts
    groups = []
    for (preset, group), own in frame.groupby(["preset", "group"], sort=False, dropna=False):
        where = f"preset {preset}" if pd.notna(preset) else "in no preset"
        groups.append(Group(f"{group}, {where}", [*map(_cells, own.to_dict("records"))]))
    return WordedTable(
        frame.drop(columns="group").convert_dtypes(),
        subtitle="Computed from the shapes and counted on Hugging Face's models; the two agree for "
        f"all {len(frame)} lines",
        sections=[Section("Models", COLUMNS, groups, drawn=True)],
        notes=_notes(sources),
    )


def _cells(line: dict[str, Any]) -> list[str]:
    target = line["target"] if pd.notna(line["target"]) else ""
    has_published, is_same = (
        pd.notna(line["published_share"]),
        pd.notna(line["parameters_difference"]),
    )
    return [
        line["model"].removesuffix(f", {target}"),
        target,
        *(str(line[size]) for size in SIZES),
        count(line["parameters"]),
        percent(line["share_of_source"], 2),
        count(line["published_parameters"]) if is_same else "",
        signed_count(int(line["parameters_difference"])) if is_same else "",
        percent(line["published_share"], 2) if has_published else "",
        signed(100 * line["share_difference"], 2) if has_published else "",
    ]


def _notes(sources: dict[str, LlamaShape]) -> list[str]:
    names = SOURCE_MODEL, "LEMON-Horizontal-37.5%", "LEMON-2.7B", "LEMON-Horizontal-50%"
    source, narrow, small, half = map(published_shape, names)
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
            for group, shape in sources.items()
        )
        + ".",
    ]
