"""How the blocks of a table are headed: the sizes of their models, here and in the paper."""

from __future__ import annotations

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.preset_checks import target_shape
from lemon.configuration.project import Project
from lemon.published.models import published_target


def changes_widths(source: LlamaShape, target: LlamaShape) -> bool:
    """Whether anything but the number of layers differs."""
    return source.with_depth(target.num_hidden_layers) != target


def table_targets(project: Project, table: str) -> dict[str, LlamaShape]:
    """The sizes of a table's small models by symbolic target, in the order of the rows."""
    names = dict.fromkeys(row.target for row in project.table(table).rows if row.target)
    source, targets = project.source_shape(), project.preset.targets
    return {name: target_shape(source, targets[name]) for name in names}


def block_heading(project: Project, target: str | None, lines: pd.DataFrame) -> str:
    """The heading of the rows of one target; `lines` are their tidy lines."""
    source = project.source_shape()
    layers = int(lines["layers"].iloc[0])
    published = lines["published_layers"].dropna()
    paper, paper_source = published_target(target), published_target(None)
    if target is None:
        heading, in_paper = f"Source model, {layers} layers", f"{published.max()}"
    else:
        shape = target_shape(source, project.preset.targets[target])
        if changes_widths(source, shape):
            heading = f"Hidden{_widths(shape, source)}"
            in_paper = f"hidden{_widths(paper, paper_source)}" if paper and paper_source else ""
        else:
            heading = f"{layers} of {source.num_hidden_layers} layers"
            of = f" of {paper_source.num_hidden_layers}" if paper_source else ""
            in_paper = f"{published.max()}{of}"
    return f"{heading} (paper: {in_paper})" if len(published) and in_paper else heading


def _widths(shape: LlamaShape, source: LlamaShape) -> str:
    return (
        f" size {shape.hidden_size} of {source.hidden_size}, "
        f"FFN {shape.intermediate_size} of {source.intermediate_size}, "
        f"{shape.num_attention_heads} of {source.num_attention_heads} heads, "
        f"{shape.num_hidden_layers} of {source.num_hidden_layers} layers"
    )


def widths_in_words(shape: LlamaShape) -> str:
    """`576, FFN 1536, 9 heads of 64 (3 key/value)`."""
    shared = shape.num_key_value_heads
    keys = f" ({shared} key/value)" if shared != shape.num_attention_heads else ""
    heads = f"{shape.num_attention_heads} heads of {shape.head_dim}{keys}"
    return f"{shape.hidden_size}, FFN {shape.intermediate_size}, {heads}"
