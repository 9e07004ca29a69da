"""Fixtures that many tests share."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from learning_world import LearningWorld, write_learning_world
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model


def pytest_configure() -> None:
    """One thread here and in child processes: for models this small a second one is in the way."""
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture(scope="module")
def models(tiny_model_folder: Path) -> dict[str, Any]:
    """The grouped, tied model and its tokenizer, as lm-eval's models take them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return {
        "pretrained": AutoModelForCausalLM.from_pretrained(tiny_model_folder),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder),
    }
