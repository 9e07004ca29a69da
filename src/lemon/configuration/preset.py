"""The types of all preset settings.

The JSON schema and the guide are generated from them. Unknown keys are errors.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lemon.configuration.bounds import (
    Count,
    Entries,
    Gigabytes,
    Layers,
    LayersOrRatio,
    Line,
    Name,
    Names,
    Section,
    Seed,
    Share,
    Size,
    SizeOrRatio,
    Steps,
)
from lemon.configuration.learning_settings import (
    FusionSettings,
    LearningSettings,
    PretrainingSettings,
    PruningSettings,
    RateSettings,
)


def _later(default: Any, description: str) -> Any:
    """A setting that came later: its default is left out, so that earlier digests stay valid."""
    return Field(
        default=default, exclude_if=lambda value: value == default, description=description
    )


class ShapeSettings(Section):
    """The sizes of a given model; checked against the weights once they are there."""

    num_hidden_layers: Layers = Field(description="decoder layers")
    hidden_size: Size = Field(description="width of the residual stream")
    intermediate_size: Size = Field(description="FFN neurons per layer")
    num_attention_heads: Size = Field(description="query heads per layer")
    num_key_value_heads: Size = Field(description="key/value heads per layer")
    head_dim: Size = Field(description="channels of one head")
    vocab_size: Size = Field(description="rows of the embedding")
    tie_word_embeddings: bool = Field(description="the head is the embedding")
    family: Literal["llama", "qwen2", "qwen3"] = _later(
        "llama",
        "the tensors of a layer: llama is LLaMA's and Mistral's, qwen2 has biases on "
        "q, k and v, qwen3 has norms on the heads of q and k",
    )


class SourceSettings(Section):
    """A model that is taken as it is: its name, where it is from, its sizes."""

    label: Line = Field(description="name of the model in tables and figures")
    kind: Literal["folder", "hub", "gguf", "random"] = Field(
        description="folder: a Hugging Face model folder on this machine; hub: one of the Hub; "
        "gguf: dequantised once from a packaged file; random: initialised from the seed"
    )
    path: Line | None = _later(None, "the folder, for kind folder")
    asset: Name | None = Field(
        default=None, description="key in assets.yaml, for the kinds hub and gguf"
    )
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="number format of the stored weights"
    )
    shape: ShapeSettings | None = Field(
        default=None,
        description="the sizes that the weights must have; none: those of the config.json of a "
        "folder, or of a fetched model of the Hub",
    )


class DomainSettings(Section):
    """One kind of text in the training mixture."""

    asset: Name | None = Field(default=None, description="key in assets.yaml; none if generated")
    reader: Literal["wikitext", "text_files", "python_files", "jsonl", "parquet", "generated"] = (
        Field(description="how documents are read from the asset")
    )
    column: Line = _later("text", "of parquet the column, of jsonl the key with the text")
    weight: Share = Field(description="share of the training sequences, up to a common factor")


class TextSettings(Section):
    """The text that operators learn from and the held-out text that they are judged on."""

    sequence_length: Size = Field(description="tokens that one training sequence predicts")
    train_sequences: Count = Field(description="upper bound of training sequences a domain")
    heldout_sequences: Count = Field(description="held-out sequences a domain; as many tune")
    domains: Entries[DomainSettings] = Field(min_length=1, description="the mixture")


class TargetSettings(Section):
    """The shape of a smaller model; a size left out is the source's.

    A ratio is of the source's size: 75%. Layers are rounded down. Heads are rounded up to whole
    groups of query heads. Widths are rounded up to a multiple of 128, or of the largest power of
    two that fits a smaller model, which every radius divides. If the heads of a LLaMA do not divide
    that hidden size, it is rounded up to a multiple of the heads and of every radius instead.
    """

    num_hidden_layers: LayersOrRatio | None = Field(default=None, description="decoder layers")
    hidden_size: SizeOrRatio | None = Field(default=None, description="width of the stream")
    intermediate_size: SizeOrRatio | None = Field(default=None, description="FFN neurons")
    num_attention_heads: SizeOrRatio | None = Field(
        default=None, description="query heads; a ratio holds for the key/value heads too"
    )
    num_key_value_heads: SizeOrRatio | None = Field(default=None, description="key/value heads")


class RadiiSettings(Section):
    """Channels that a dimension operator ties in one block (r), each a divisor of its sizes."""

    attention: SizeOrRatio = Field(
        description="r_a, on the heads, in channels or as a ratio of a head's; 100% mixes whole "
        "heads, less cuts them"
    )
    ffn: Size = Field(description="r_i, on the FFN neurons")
    hidden: Size | None = Field(
        default=None, description="r_h, on the residual stream; none: that of the FFN"
    )


class DenseSettings(Section):
    """The rows that the source model alone is scored on once more, for narrow intervals."""

    limit: Count | None = Field(
        default=1000, description="rows a task, the first ones; none takes all"
    )
    limits: Entries[Count] = Field(
        default={"mmlu": 1140},
        description="the same for single tasks; 1140 of MMLU are 20 a subject",
    )


class EvaluationSettings(Section):
    """What a finished model is scored on."""

    tasks: Names = Field(min_length=1, description="lm-eval task names")
    source: str = Field(
        default="packaged",
        description="where the rows come from: packaged (assets), generated (without meaning, made "
        "on the spot), hub, or a mirror folder",
    )
    limit: Count | None = Field(
        default=None, description="rows a task, the first ones; none takes all"
    )
    limits: Entries[Count] = Field(
        default={}, description="the same for single tasks, in place of limit"
    )
    fewshot: Literal["fixed", "drawn"] = Field(
        default="fixed",
        description="fixed: every question of a task follows the same first rows of its few-shot "
        "split, as many whole ones as fit; drawn: lm-eval's own draw for each question, cut from "
        "the left where it is too long",
    )
    batch_size: Count = Field(default=16, description="requests in one forward pass")
    dense: DenseSettings = Field(
        default=DenseSettings(), description="the source model on more rows of every task"
    )

    @property
    def prepares_rows(self) -> bool:
        """Whether `lemon prepare tasks` writes the rows."""
        return self.source in ("packaged", "generated")


class CalibrationSettings(Section):
    """The training text on which builders look at activations."""

    sequences: Count = Field(default=32, description="training sequences, the first of the order")
    search_sequences: Count = Field(
        default=8, description="how many of them score each candidate of a search by its loss"
    )
    window_stride: Count = Field(
        default=1,
        description="layers from the start of a window that FF-merge and window-drop try to that "
        "of the next; the last window is always tried",
    )


class ComputeSettings(Section):
    """Where and in which number format models run."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes a GPU where there is one"
    )
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="activations and fused weights; operators stay float32"
    )
    devices: Count = _later(
        1,
        "processes of `learn`, `pretrain` and `try`, one on each device of one machine; they "
        "share the microbatches of every step and the weights that train",
    )
    memory: Gigabytes | None = _later(
        None,
        "GB of one device; `lemon plan` refuses a training that does not fit. None: "
        "it is not checked",
    )
    teraflops: Share | None = _later(
        None,
        "dense matrix products of one device in dtype as its maker states them, in "
        "TFLOP/s, for the time that `lemon plan` tells where the device is not at hand",
    )


class Preset(Section):
    """One scale of the whole reproduction: model, text, tasks and budgets."""

    base: Line | None = Field(
        default=None,
        exclude=True,
        description="preset whose values hold where this file gives none: a name, or a path",
    )
    description: Line = Field(description="what this preset is for, in a line")
    seed: Seed = Field(default=0, description="seed of everything that a run does not seed")
    seeds: Count = Field(
        default=1,
        description="how many runs of a learned row a table shows, one for each seed; the first "
        "ones that the row names",
    )
    compute: ComputeSettings = Field(default=ComputeSettings(), description="device and format")
    source: SourceSettings = Field(description="the large model that everything is fused from")
    second_size: SourceSettings | None = Field(
        default=None,
        description="another size of its family, whose weights figures compare with "
        "the source's; none if not available",
    )
    text: TextSettings = Field(description="training and held-out text")
    targets: Entries[TargetSettings] = Field(
        min_length=1, description="the symbolic targets of runs.tsv in numbers"
    )
    radii: Entries[RadiiSettings] = Field(
        default={}, description="the symbolic receptive fields of runs.tsv in numbers"
    )
    budgets: Entries[Steps] = Field(
        min_length=1, description="the symbolic steps of runs.tsv in optimiser steps"
    )
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="text on which builders look at activations"
    )
    learning: LearningSettings = Field(
        default=LearningSettings(), description="how operators learn"
    )
    fusion: FusionSettings = Field(
        default=FusionSettings(), description="choices that the paper leaves open"
    )
    pruning: PruningSettings = Field(
        default=PruningSettings(), description="how masks learn under a sparsity constraint"
    )
    pretraining: PretrainingSettings = Field(
        default=PretrainingSettings(), description="how small models train on text alone"
    )
    evaluation: EvaluationSettings = Field(description="tasks and limits")
    rates: Entries[RateSettings] = Field(
        default={},
        description="the symbolic rates of runs.tsv in numbers; what an entry leaves out is that "
        "of the learning, pruning or pretraining section",
    )
