"""How runs train: the blocks `learning`, `fusion`, `pruning` and `pretraining`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lemon.configuration.bounds import Count, Decay, Fraction, List, Rate, Section, Share, Tokens


class FusionSettings(Section):
    """What the paper leaves open about fusing widths, and about the second of two stages."""

    rotary_halves: Literal["tied", "free"] = Field(
        default="tied",
        description="radii below the head size: tied maps the two halves of a head alike, "
        "as the rotary embedding pairs their channels; free learns every entry",
    )
    stage_teacher: Literal["source", "previous"] = Field(
        default="source",
        description="who teaches the second stage: the source model, or the first stage's model",
    )


class TrainingSettings(Section):
    """What every kind of training has: optimiser, batches, checkpoints."""

    batch_sequences: Count = Field(default=32, description="sequences of one optimiser step")
    microbatch_sequences: Count = Field(
        default=32, description="sequences in memory at once; divides batch_sequences"
    )
    warmup_ratio: Fraction = Field(default=0.1, description="share of the steps that warm up")
    final_rate_ratio: Fraction = Field(
        default=0.1, description="the cosine ends at this share of the peak"
    )
    beta1: Fraction = Field(default=0.9, description="AdamW, first moment")
    beta2: Fraction = Field(default=0.95, description="AdamW, second moment")
    weight_decay: Decay = Field(default=0.0, description="AdamW, decoupled decay")
    max_gradient_norm: Share = Field(default=1.0, description="gradients are clipped to this norm")
    checkpoint_every: Count = Field(default=100, description="steps between checkpoints")
    evaluate_every: Count = Field(
        default=40, description="steps between losses on the tune text (m of the paper's Table 6)"
    )
    tune_sequences: Count = Field(default=8, description="tune sequences a domain in those losses")
    recompute: bool = Field(
        default=True,
        description="drop activations (and fused weights), and rebuild them backward",
    )
    loss_chunk_tokens: Count = Field(
        default=256, description="tokens whose logits are in memory at once"
    )
    divergence_factor: Annotated[float, Field(gt=1.0, le=1e6)] = Field(
        default=2.0,
        description="stop when the mean training loss of 20 steps exceeds the first step's loss "
        "by this factor",
    )


class LearningSettings(TrainingSettings):
    """How operators learn: objective, rates, memory, and what every training has."""

    lm_weight: Fraction = Field(
        default=0.5, description="lambda of lambda * LM + (1 - lambda) * KL(teacher || student)"
    )
    layer_rate: Rate = Field(default=5e-4, description="peak learning rate of gamma of matrices")
    norm_rate: Rate = Field(
        default=5e-4,
        description="peak learning rate of gamma of norms, whose gains are so alike from layer to "
        "layer that a step moves a fused gain several times as far as a fused matrix",
    )
    dimension_rate: Rate = Field(default=5e-5, description="peak learning rate of B and A")
    weight_rate: Rate = Field(
        default=1e-4, description="peak learning rate of the source weights, where they learn"
    )
    layers_per_segment: Count = Field(
        default=1,
        description="target layers that are fused together inside one checkpointed block: more "
        "is faster, fewer need less memory",
    )


class LoadingSettings(Section):
    """Dynamic batch loading: domains that lag behind their reference loss are drawn more often."""

    update_every: Count | None = Field(
        default=50, description="steps between updates of the mixture; none: a fixed mixture"
    )
    reference: Literal["source", "scaling-law"] = Field(
        default="source",
        description="the loss that a domain should reach: the source model's own, or what the "
        "scaling law of the LLaMA-2 family says for the target's size (RedPajama domains only)",
    )
    clip: bool = Field(
        default=True,
        description="a domain below its reference keeps its share (paper) instead of losing some "
        "(public code)",
    )
    smoothing: Fraction = Field(
        default=1e-4, description="share of the mixture that is spread evenly over the domains"
    )


class PruningSettings(Section):
    """How masks learn, beside the optimiser and batches of the learning section."""

    mask_rate: Rate = Field(default=1.0, description="peak learning rate of the masks' log alpha")
    multiplier_rate: Rate = Field(
        default=1.0, description="peak learning rate at which Lagrange multipliers ascend"
    )
    sparsity_warmup_ratio: Fraction = Field(
        default=0.2, description="share of the steps in which the target sparsity rises from 0"
    )
    loading: LoadingSettings = Field(
        default=LoadingSettings(), description="how the mixture of domains follows the losses"
    )


class PretrainingSettings(TrainingSettings):
    """How the weights of a small model train on text alone, after fusion or from scratch."""

    batch_sequences: Count = Field(default=256, description="sequences of one optimiser step")
    warmup_ratio: Fraction = Field(default=0.03, description="share of the steps that warm up")
    weight_rate: Rate = Field(default=1e-4, description="peak learning rate of the weights")
    snapshots: List[Tokens] = Field(
        default=(),
        description="token counts at which the model is kept, to be scored on the zero-shot "
        "tasks; each at the first step that reaches it, before the last",
    )
    loading: LoadingSettings = Field(
        default=LoadingSettings(update_every=400),
        description="how the mixture of domains follows the losses",
    )


class RateSettings(Section):
    """What runs of one kind set in place of the learning and pruning sections: tuned values."""

    layer_rate: Rate | None = Field(default=None, description="learning.layer_rate of these runs")
    norm_rate: Rate | None = Field(default=None, description="learning.norm_rate")
    dimension_rate: Rate | None = Field(default=None, description="learning.dimension_rate")
    weight_rate: Rate | None = Field(
        default=None, description="learning.weight_rate; of pre-training, pretraining.weight_rate"
    )
    mask_rate: Rate | None = Field(default=None, description="pruning.mask_rate")
    multiplier_rate: Rate | None = Field(default=None, description="pruning.multiplier_rate")
    sparsity_warmup_ratio: Fraction | None = Field(
        default=None, description="pruning.sparsity_warmup_ratio"
    )
    warmup_ratio: Fraction | None = Field(
        default=None,
        description="learning.warmup_ratio; of pre-training, pretraining.warmup_ratio",
    )
