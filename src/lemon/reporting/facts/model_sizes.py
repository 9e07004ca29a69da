"""Table 5: parameters of the source models and of all targets, computed and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

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


@dataclass(frozen=True)
class ModelLine:
    """One model of Table 5.

    Attributes:
        preset: its preset; empty for a model of no preset.
        group: the source model's name.
        target: symbolic shape in the preset; empty for a source and if no target has this shape.
        shape, source: its sizes, and those of its source model.
        published: the paper's row for comparison: the same model, or, in other presets, the
            paper's model of the same target.
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
        """Parameters divided by those of the source."""
        return self.shape.num_parameters / self.source.num_parameters

    @property
    def difference(self) -> int | None:
        """Parameters less the paper's, where it prints these sizes, so that they must agree."""
        if self.published is None or self.published.shape != self.shape:
            return None
        return self.shape.num_parameters - self.published.parameters


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


def model_lines(project: Project, *_: object) -> list[ModelLine]:
    """All models of the table: the paper's first, then those of the other presets."""
    paper, *others = all_presets(project)
    lines = list(_paper_lines(paper))
    for name, shape in (("", LLAMA2_13B), (", widths 62.5 %", narrowed(LLAMA2_13B))):
        model = f"{LLAMA2_13B_LABEL}{name}"
        lines.append(ModelLine("", LLAMA2_13B_LABEL, model, "", shape, LLAMA2_13B))
    beside = {line.target: line.published for line in reversed(lines) if line.target}
    return [*lines, *(line for preset in others for line in _preset_lines(preset, beside))]


def _paper_lines(paper: Project) -> Iterator[ModelLine]:
    """Table 5's rows, each with the target of the same sizes; then targets not in Table 5."""
    source, label = paper.source_shape(), paper.preset.source.label
    targets = {name: paper.shape_of(name) for name in paper.preset.targets}
    models = published_models().values()
    for model in models:
        name = label if model.name == SOURCE_MODEL else model.name
        same = next((target for target, shape in targets.items() if shape == model.shape), "")
        yield ModelLine(paper.preset_name, label, name, same, model.shape, source, model)
    for target, shape in targets.items():
        if all(shape != model.shape for model in models):
            yield ModelLine(paper.preset_name, label, f"{label}, {target}", target, shape, source)


def _preset_lines(
    project: Project, beside: dict[str, PublishedModel | None]
) -> Iterator[ModelLine]:
    source, label, name = project.source_shape(), project.preset.source.label, project.preset_name
    yield ModelLine(name, label, label, "", source, source)
    for target in project.preset.targets:
        model, shape = f"{label}, {target}", project.shape_of(target)
        yield ModelLine(name, label, model, target, shape, source, beside.get(target))


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
