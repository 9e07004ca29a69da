"""The small model, its calibration text, and the same model in transformers."""

from __future__ import annotations

import pytest
import torch
from calibrated_models import LAYERS, ROWS
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.methods.calibration import Calibration


@pytest.fixture(scope="module", params=[GROUPED_TIED, PLAIN_UNTIED], ids=["grouped", "plain"])
def source(request, tmp_path_factory) -> Checkpoint:
    """Six layers with two query heads a group and a tied head, or with neither."""
    folder = tmp_path_factory.mktemp("calibrated")
    return Checkpoint(write_tiny_model(folder, **{**request.param, "num_hidden_layers": LAYERS}))


@pytest.fixture(scope="module")
def calibration(source) -> Calibration:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(source.shape.vocab_size, (2 * ROWS, 13), generator=generator)
    numbers = (4, torch.float32, torch.device("cpu"))
    tune = Calibration(source, tokens[ROWS:], [1 / ROWS] * ROWS, *numbers)
    return Calibration(source, tokens[:ROWS], [1 / ROWS] * ROWS, *numbers, tune)


@pytest.fixture(scope="module")
def model(source) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
