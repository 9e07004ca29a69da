"""The model that pre-training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretraining_world import CONTINUED

from lemon.architecture import tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.model_folder import write_checkpoint
from lemon.pretraining.run import random_model


@pytest.fixture(scope="module")
def small_model(learning_world, tmp_path_factory) -> Path:
    """A model of the sizes of `small`, in place of a fused one."""
    shape = load_project("smoke").run(CONTINUED).target_shape
    config = Checkpoint(learning_world.source).config
    folder = tmp_path_factory.mktemp("small") / "model"
    weights = random_model(config, shape, seed=3).state_dict()
    tensors = ((spec.name, weights[spec.name]) for spec in tensor_specs(shape))
    write_checkpoint(folder, shape, tensors, like=learning_world.source, dtype=torch.float32)
    return folder
