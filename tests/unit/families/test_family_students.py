"""Teachers and students of each family are the models that are exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import CPU, SMALL, TARGETS, fused_model, radii_for, some_tokens
from models import random_operators
from roundoff import logits_off
from transformers import AutoModelForCausalLM

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.decoder import Decoder
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.fusion import DepthFusion, Fusion
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.learning.student import FusedStudent, Teacher
from lemon.methods.shear import selection_operators
from lemon.model_folder import write_checkpoint
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense


def student_of(source: Checkpoint, fusion: Fusion, weights: SourceWeights, config: dict) -> Any:
    decoder = Decoder(config, CPU)
    return FusedStudent(weights, fusion, decoder, layers_per_segment=2, recompute=False)


def frozen(kind: type[SourceWeights], source: Checkpoint, **more: int) -> Any:
    return kind(source, dtype=torch.float32, device=CPU, **more)


@torch.no_grad()
def assert_same_logits(student: FusedStudent, model: Any, times: int = 2) -> None:
    """The student fuses the weights in other sums, so that both are off by rounding."""
    tokens = some_tokens()
    found, expected = student(tokens) @ student.head_weight().T, model(tokens).logits
    assert expected.std() > 0.1
    allowed = times * logits_off(model, tokens)
    torch.testing.assert_close(found, expected, atol=allowed, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", [SourceStack, SourceLayers, ResidualLayers])
def test_the_teacher_is_the_model(source: Checkpoint, kind: type[SourceWeights]) -> None:
    weights = frozen(kind, source, **({"radius": 4} if kind is ResidualLayers else {}))
    teacher = Teacher(weights, Decoder(source.config, CPU))
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    logits, expected = teacher(some_tokens()) @ teacher.head_weight().T, model(some_tokens()).logits
    allowed = logits_off(model, some_tokens())
    torch.testing.assert_close(logits, expected, atol=allowed, rtol=0)
    named = dict(weights.named_weights())
    assert named.keys() == source.specs.keys()
    for name, weight in named.items():
        assert torch.equal(weight, source.tensor(name)), name


def test_the_student_over_layers_is_the_exported_model(source: Checkpoint, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {type: torch.randn(3, 4, generator=generator) for type in LAYER_TYPES}
    gamma = {type: Dense(torch.eye(3, 4) + 0.2 * values) for type, values in drawn.items()}
    start = Operators(source.shape, source.shape.with_depth(3), gamma=gamma)
    student = student_of(
        source, DepthFusion(start, CPU), frozen(SourceStack, source), source.config
    )
    assert_same_logits(student, fused_model(source, start, tmp_path))


@pytest.mark.parametrize("splits", [False, True], ids=["whole heads", "split heads"])
def test_the_student_over_widths_is_the_exported_model(
    source: Checkpoint, splits: bool, tmp_path: Path
) -> None:
    radii = radii_for(source, splits=splits)
    drawn = random_operators(source.shape, replace(source.shape, **SMALL), radii)
    start = Operators(
        *(source.shape, drawn.target, radii), hidden=drawn.hidden, attn=drawn.attn, ffn=drawn.ffn
    )
    weights = frozen(ResidualLayers, source, radius=radii.hidden)
    fusion = DimensionFusion(start, CPU, tied=False)
    student = student_of(source, fusion, weights, config_of(start.target, source.config))
    assert_same_logits(student, fused_model(source, start, tmp_path))


@pytest.mark.parametrize("target", TARGETS)
def test_the_masked_student_is_the_exported_model(
    source: Checkpoint, target: str, tmp_path: Path
) -> None:
    """With soft gates folded in: a head's gate scales its rows of v and their bias."""
    small = replace(source.shape, **TARGETS[target])
    masks, generator = Masks(source.shape, small, seed=5, device=CPU), torch.Generator()
    with torch.no_grad():
        for log_alpha in masks.log_alpha.values():
            log_alpha.copy_(2 * torch.randn(log_alpha.shape, generator=generator.manual_seed(1)))
    fusion = MaskedFusion(masks, Decoder(source.config, CPU).norm_eps)
    student = student_of(source, fusion, frozen(SourceLayers, source), source.config)
    folder, weights = tmp_path / "trained", fusion.exported_weights(student.source)
    write_checkpoint(folder, source.shape, weights, like=source.path, dtype=torch.float32)
    operators = selection_operators(source.shape, small, masks.selection())
    assert_same_logits(student, fused_model(Checkpoint(folder), operators, tmp_path))
