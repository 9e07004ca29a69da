"""What a small model costs to run and to make, from shapes and settings, and from `lemon time`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.flops import forward_flops, training_flops
from lemon.reporting.facts.inference_times import InferenceTime


@dataclass(frozen=True)
class ModelCost:
    """The cost of a run's model, and of making it with all that it builds on.

    Attributes:
        layers: of the model itself; where FFNs are tied, more than those of its target.
        parameters: tied FFNs and a tied head are counted once.
        parameters_share: relative to the source model.
        flops: of a forward pass, per token of a sequence of the preset's length.
        flops_share: relative to the source model.
        time: of inference, relative to the source model.
        start_tokens: tokens of text that builders read at most, each counted once a builder.
        training_tokens: tokens that the training steps predict.
        training_flops: of training, with the teacher's forward passes.
    """

    layers: int
    parameters: int
    parameters_share: float
    flops: float
    flops_share: float
    time: InferenceTime
    start_tokens: int
    training_tokens: int
    training_flops: float

    @property
    def numbers(self) -> dict[str, float]:
        """Every number by name, with the medians and quartiles of the time."""
        found = asdict(self)
        return found.pop("time") | found


def model_cost(
    project: Project, run: PlannedRun, times: Mapping[LlamaShape, InferenceTime]
) -> ModelCost:
    """The cost of a run's model under a preset, whose inference took these times by shape."""
    source, length = project.source_shape(), project.preset.text.sequence_length
    flops, made = forward_flops(run.target_shape, length), lineage([run])
    return ModelCost(
        layers=run.target_shape.num_hidden_layers,
        parameters=run.num_parameters,
        parameters_share=run.num_parameters / source.num_parameters,
        flops=flops,
        flops_share=flops / forward_flops(source, length),
        time=times[run.target_shape],
        start_tokens=sum(start_tokens(project, one) for one in made),
        training_tokens=sum(one.steps * one.tokens_per_step for one in made),
        training_flops=training_flops(project, run),
    )


def start_tokens(project: Project, run: PlannedRun) -> int:
    """Tokens that the builder of a run reads at most: calibration text, and tune text to choose."""
    method, text, sequences = run.method, project.preset.text, 0
    if method.calibrates and method.calibration_rows:
        sequences += getattr(run.calibration, method.calibration_rows)
    if method.chooses:
        tune = min(run.learning.tune_sequences, text.heldout_sequences)  # as many as held out
        sequences += tune * len(text.domains)
    return sequences * text.sequence_length
