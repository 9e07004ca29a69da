"""FLOPs computed from shapes, against torch's own count of a model that runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from lemon.architecture import LlamaShape
from lemon.config_json import config_of
from lemon.configuration.project import Project
from lemon.flops import forward_flops, learning_flops, step_flops, training_flops

SHAPE = LlamaShape(2, 8, 12, 4, 2, 2, vocab_size=10)


def test_a_tiny_model_by_hand() -> None:
    """A layer has q and o of 8 x 8, k and v of 4 x 8, and three matrices of 12 x 8."""
    layer = 2 * 8 * 8 + 2 * 4 * 8 + 3 * 12 * 8
    attention = 2 * 2 * 8 * 3  # scores and values over 8 channels, 3 of the 6 tokens on average
    expected = 2 * (2 * layer + 10 * 8) + 2 * attention
    assert forward_flops(SHAPE, 6) == expected
    tied = replace(SHAPE, tie_word_embeddings=True)
    assert forward_flops(tied, 6) == expected  # the head computes the same


@pytest.mark.parametrize("tied", [False, True])
def test_the_count_is_that_of_torch(tied: bool) -> None:
    """Torch counts every pair of tokens, and a causal model needs half of them."""
    shape, length = replace(SHAPE, tie_word_embeddings=tied), 6
    config = LlamaConfig(**config_of(shape, {}), attn_implementation="eager")
    model = LlamaForCausalLM(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, length, dtype=torch.long))
    above_the_diagonal = 2 * shape.num_hidden_layers * length * 8
    assert counter.get_total_flops() / length == forward_flops(shape, length) + above_the_diagonal


def test_training_adds_up_the_lineage(project: Project) -> None:
    shear, lemon = project.run("shear-75"), project.run("lemon-prune-75")
    both = learning_flops(project, shear) + learning_flops(project, lemon)
    assert training_flops(project, lemon) == both
    assert training_flops(project, project.run("shear-selection-75")) == training_flops(
        project, shear
    )
    assert training_flops(project, project.run("cut-75")) == 0


def test_the_training_of_weights_by_hand(project: Project) -> None:
    """The teacher's forward pass and three passes of the student, then losses on the tune text."""
    run = project.run("cut-tuned-75")
    source, small = (forward_flops(shape, 256) for shape in (run.fused_shape, run.target_shape))
    tokens, tune = 80 * 4 * 256, 8 * 3 * 256
    evaluations = 3  # before the first step, and after steps 40 and 80
    expected = tokens * (source + 3 * small) + evaluations * tune * small
    assert training_flops(project, run) == expected
    assert step_flops(project, run) == 4 * 256 * (source + 3 * small)


def test_weights_under_a_gamma_that_adds_layers_up(project: Project) -> None:
    """Each of the layer's elements of 30 layers goes into 22 sums, forwards and backwards."""
    run = project.run("cut-tuned-75")
    layer = 576 * (2 * 576 + 2 * 192) + 3 * 576 * 1536 + 2 * 576
    microbatches = 4 / run.learning.microbatch_sequences
    mixing = 80 * microbatches * 2 * (2 * layer * 30 * 22)
    for start in ("laco-75", "mka-75", "come-sum-75", "average-75", "lemon-cut-75"):
        mixed = replace(run, start=project.run(start))
        assert learning_flops(project, mixed) == learning_flops(project, run) + mixing, start
    for start in ("sleb-75", "shear-selection-75"):
        selected = replace(run, start=project.run(start))
        assert learning_flops(project, selected) == learning_flops(project, run), start
    tied, hierarchical = project.run("ff-merge-tuned-75"), project.run("come-hierarchical-75")
    assert tied.mixes_layers and not hierarchical.mixes_layers
