"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from learning_world import LearningWorld, write_learning_world
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, float32, two query heads a key/value head, the embedding is the head."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny-grouped-tied"), **GROUPED_TIED)


@pytest.fixture(scope="session")
def tiny_untied_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, float32, plain multi-head attention, a head of its own."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny-plain-untied"), seed=1, **PLAIN_UNTIED)


@pytest.fixture(scope="session")
def learning_world(tmp_path_factory: pytest.TempPathFactory) -> LearningWorld:
    """Source and packed text of the smoke preset."""
    return write_learning_world(tmp_path_factory.mktemp("learning-world"))
