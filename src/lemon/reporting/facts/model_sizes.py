"""Parameters of the source models and of every target, computed and counted: Table 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.configuration.load import siblings
from lemon.configuration.project import Project
from lemon.errors import BadInput, WorkFailed
from lemon.published.tables import published_table

PAPER_PRESET = "paper"  # the preset of the paper's own source, by the name of its file
SOURCE_ROW = "LLaMA-7B"  # in published/table5.csv
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
    """A row of Table 5: its name, its sizes as printed, and the parameters that these give."""

    name: str
    shape: LlamaShape
    parameters: int
    share: float


@dataclass(frozen=True)
class ModelLine:
    """One model of Table 5.

    Attributes:
        preset: the preset it belongs to; empty for a model of no preset.
        group: the source model's name.
        model: its name.
        target: symbolic shape in the preset; empty for a source and where no target has this shape.
        shape: its sizes.
        source: the sizes of the model that it is made from.
        published: the row of the paper that stands beside it: the same model, or, in the other
            presets, what the same target is in the paper.
    """

    preset: str
    group: str
    model: str
    target: str
    shape: LlamaShape
    source: LlamaShape
    published: PublishedModel | None = None

    @property
    def share(self) -> float:
        """Parameters over those of the source."""
        return self.shape.num_parameters / self.source.num_parameters

    @property
    def same_as_published(self) -> bool:
        """Whether the paper prints exactly these sizes, so that the counts must agree."""
        return self.published is not None and self.published.shape == self.shape


def paper_project(project: Project) -> Project:
    """The paper's own preset, from the folder of this one.

    Raises:
        BadInput: there is none.
    """
    for sibling in siblings(project):
        if sibling.preset_name == PAPER_PRESET:
            return sibling
    raise BadInput(
        f"{project.config_dir / 'presets'}: no {PAPER_PRESET}.yaml, whose source is what the "
        "paper's own numbers are compared with; put it back"
    )


def published_models(source: LlamaShape) -> list[PublishedModel]:
    """The rows of Table 5, in its order; what it does not print is the source's.

    Args:
        source: LLaMA-2 7B, for the vocabulary and the head; every query head has its own keys.
    """
    return [
        PublishedModel(
            row["model"],
            LlamaShape(
                num_hidden_layers=int(row["hidden_layers"]),
                hidden_size=int(row["hidden_size"]),
                intermediate_size=int(row["intermediate_size"]),
                num_attention_heads=int(row["attention_heads"]),
                num_key_value_heads=int(row["attention_heads"]),
                head_dim=int(row["calc_head_dim"]),
                vocab_size=source.vocab_size,
                tie_word_embeddings=source.tie_word_embeddings,
            ),
            int(row["calc_params"]),
            float(row["calc_params_vs_7b"]),
        )
        for row in published_table("table5")
    ]


def model_lines(project: Project) -> list[ModelLine]:
    """Every model of the table: the paper's first, then those of the other presets.

    Raises:
        BadInput: the folder has no preset of the paper, or one of its presets is wrong.
    """
    paper = paper_project(project)
    lines = [*_paper_lines(paper), *_larger_lines()]
    beside = {line.target: line.published for line in reversed(lines) if line.target}
    for sibling in siblings(project):
        if sibling.preset_name != paper.preset_name:
            lines += _preset_lines(sibling, beside)
    return lines


def _paper_lines(paper: Project) -> Iterator[ModelLine]:
    """Table 5's rows, each with the target of the same sizes; then targets that it lacks."""
    source, label = paper.source_shape(), paper.preset.source.label
    targets = {name: paper.shape_of(name) for name in paper.preset.targets}
    models = published_models(source)
    for model in models:
        name = label if model.name == SOURCE_ROW else model.name
        same = [target for target, shape in targets.items() if shape == model.shape]
        yield ModelLine(
            paper.preset_name, label, name, same[0] if same else "", model.shape, source, model
        )
    for target, shape in targets.items():
        if all(shape != model.shape for model in models):
            yield ModelLine(paper.preset_name, label, f"{label}, {target}", target, shape, source)


def _larger_lines() -> Iterator[ModelLine]:
    """LLaMA-2 13B, and what the paper's rule of widths makes of it."""
    for model, shape in (
        (LLAMA2_13B_LABEL, LLAMA2_13B),
        (f"{LLAMA2_13B_LABEL}, widths 62.5 %", narrowed(LLAMA2_13B)),
    ):
        yield ModelLine("", LLAMA2_13B_LABEL, model, "", shape, LLAMA2_13B)


def _preset_lines(
    project: Project, beside: dict[str, PublishedModel | None]
) -> Iterator[ModelLine]:
    source, label, name = project.source_shape(), project.preset.source.label, project.preset_name
    yield ModelLine(name, label, label, "", source, source)
    for target in project.preset.targets:
        shape = project.shape_of(target)
        yield ModelLine(
            name, label, f"{label}, {target}", target, shape, source, beside.get(target)
        )


def narrowed(source: LlamaShape, eighths: int = 5, multiple: int = 128) -> LlamaShape:
    """Widths cut to `eighths`/8, 5/8 being 62.5 %, and rounded up to whole multiples.

    Section 4.4 says 62.5 % of the dimensions; its sizes follow from rounding up to a multiple of
    128, the head size: 11008 becomes 6912, not 6880.
    """

    def cut(size: int, whole: int) -> int:
        return -(-size * eighths // (8 * whole)) * whole

    return LlamaShape(
        num_hidden_layers=source.num_hidden_layers,
        hidden_size=cut(source.hidden_size, multiple),
        intermediate_size=cut(source.intermediate_size, multiple),
        num_attention_heads=cut(source.num_attention_heads, 1),
        num_key_value_heads=cut(source.num_key_value_heads, 1),
        head_dim=source.head_dim,
        vocab_size=source.vocab_size,
        tie_word_embeddings=source.tie_word_embeddings,
    )


@cache
def counted_parameters(shape: LlamaShape) -> int:
    """The parameters of Hugging Face's own model of this shape, built without any memory.

    Raises:
        WorkFailed: the count is not the one that the shape gives.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**shape.to_config({})))
    found = sum(parameter.numel() for parameter in model.parameters())
    if found != shape.num_parameters:
        raise WorkFailed(
            f"{shape} has {shape.num_parameters:,} parameters by its tensors and {found:,} in "
            "Hugging Face's model; lemon.architecture and transformers disagree"
        )
    return found


def model_frame(lines: list[ModelLine]) -> pd.DataFrame:
    """The table as tidy lines, one a model; shares are fractions.

    Raises:
        WorkFailed: a computed count is not the counted one.
    """
    return pd.DataFrame([_tidy(line) for line in lines]).convert_dtypes()


def _tidy(line: ModelLine) -> dict[str, Any]:
    shape, paper = line.shape, line.published
    return {
        "preset": line.preset or "-",
        "model": line.model,
        "target": line.target or "-",
        **vars(shape),
        "parameters": shape.num_parameters,
        "parameters_counted": counted_parameters(shape),
        "share_of_source": round(line.share, 6),
        "published_model": paper.name if paper else None,
        "published_hidden_size": paper.shape.hidden_size if paper else None,
        "published_intermediate_size": paper.shape.intermediate_size if paper else None,
        "published_attention_heads": paper.shape.num_attention_heads if paper else None,
        "published_hidden_layers": paper.shape.num_hidden_layers if paper else None,
        "published_parameters": paper.parameters if paper else None,
        "parameters_difference": shape.num_parameters - paper.parameters
        if paper and line.same_as_published
        else None,
        "published_share": paper.share if paper else None,
        "share_difference": round(line.share - paper.share, 4) if paper else None,
    }
