"""Table 5: parameters of the source models and of all targets, computed and counted."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd

from lemon.architecture import LlamaShape
from lemon.config_json import config_of
from lemon.configuration.load import siblings
from lemon.configuration.project import Project
from lemon.errors import BadInput, WorkFailed
from lemon.published.models import (
    LLAMA2_13B,
    LLAMA2_13B_LABEL,
    SOURCE_MODEL,
    PublishedModel,
    narrowed,
    published_models,
)

PAPER_PRESET = "paper"  # the preset of the paper's source


def all_presets(project: Project) -> list[Project]:
    """All presets of the folder, the paper's first.

    Raises:
        BadInput: the paper's is missing, or one of them is wrong.
    """
    paper, *others = sorted(siblings(project), key=lambda one: one.preset_name != PAPER_PRESET)
    if paper.preset_name == PAPER_PRESET:
        return [paper, *others]
    raise BadInput(
        f"{project.config_dir / 'presets'}: no {PAPER_PRESET}.yaml, whose source is what the "
        "paper's own numbers are compared with; put it back"
    )


def model_sizes(project: Project, *_: object) -> tuple[pd.DataFrame, dict[str, LlamaShape]]:
    """All models, the paper's first, then those of the other presets; and the source of each group.

    A line for each `model` with its `preset` (None for a model of no preset), `group` (the source
    model's name), `target` (None for a source, and if no target has this shape), sizes and
    parameters; shares are fractions. The published columns have the same model, or, in other
    presets, the paper's model of the same target. `parameters_difference` is there where the paper
    prints these sizes, so that they must agree.

    Raises:
        BadInput: as of `all_presets`.
        WorkFailed: as of `counted_parameters`.
    """
    (paper, *others), lines = all_presets(project), []
    sources = {paper.preset.source.label: paper.source_shape(), LLAMA2_13B_LABEL: LLAMA2_13B}
    sources |= {other.preset.source.label: other.source_shape() for other in others}

    def add(
        preset: str | None,
        group: str,
        model: str,
        target: str | None,
        shape: LlamaShape,
        source: LlamaShape,
        printed: PublishedModel | None = None,
    ) -> None:
        place = {"preset": preset, "group": group, "model": model, "target": target}
        lines.append({**place, **_numbers(shape, source, printed)})

    models, label, source = published_models(), paper.preset.source.label, paper.source_shape()
    targets = {name: paper.shape_of(name) for name in paper.preset.targets}
    beside: dict[str, PublishedModel] = {}
    for one in models.values():
        name = label if one.name == SOURCE_MODEL else one.name
        same = next((target for target, shape in targets.items() if shape == one.shape), None)
        add(paper.preset_name, label, name, same, one.shape, source, one)
        beside.setdefault(same or "", one)
    for target, shape in targets.items():
        if all(shape != one.shape for one in models.values()):
            add(paper.preset_name, label, f"{label}, {target}", target, shape, source)
    for name, shape in (("", LLAMA2_13B), (", widths 62.5 %", narrowed(LLAMA2_13B))):
        add(None, LLAMA2_13B_LABEL, f"{LLAMA2_13B_LABEL}{name}", None, shape, LLAMA2_13B)
    for other in others:
        label, source = other.preset.source.label, other.source_shape()
        add(other.preset_name, label, label, None, source, source)
        for target in other.preset.targets:
            shape, model = other.shape_of(target), f"{label}, {target}"
            add(other.preset_name, label, model, target, shape, source, beside.get(target))
    return pd.DataFrame(lines), sources


def _numbers(
    shape: LlamaShape, source: LlamaShape, printed: PublishedModel | None
) -> dict[str, Any]:
    share = shape.num_parameters / source.num_parameters
    numbers = {
        **shape.sizes(),
        "parameters": shape.num_parameters,
        "parameters_counted": counted_parameters(shape),
        "share_of_source": round(share, 6),
    }
    if printed is None:
        return numbers
    difference = shape.num_parameters - printed.parameters
    return numbers | {
        "published_model": printed.name,
        "published_hidden_size": printed.shape.hidden_size,
        "published_intermediate_size": printed.shape.intermediate_size,
        "published_attention_heads": printed.shape.num_attention_heads,
        "published_hidden_layers": printed.shape.num_hidden_layers,
        "published_parameters": printed.parameters,
        "parameters_difference": difference if printed.shape == shape else None,
        "published_share": printed.share,
        "share_difference": round(share - printed.share, 4),
    }


@cache
def counted_parameters(shape: LlamaShape) -> int:
    """The parameters of Hugging Face's model of this shape, built without allocating weights.

    Raises:
        WorkFailed: the count differs from the one computed from the shape.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(shape.family, **config_of(shape, {}))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = sum(parameter.numel() for parameter in model.parameters())
    if found != shape.num_parameters:
        raise WorkFailed(
            f"{shape} has {shape.num_parameters:,} parameters by its tensors and {found:,} in "
            "Hugging Face's model; lemon.architecture and transformers disagree"
        )
    return found
