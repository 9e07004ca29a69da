"""Fixtures that many tests share."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from learning_world import LearningWorld, write_learning_world
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model

from lemon.cli import main
from lemon.configuration import yaml_files
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.files import plain_yaml

# Every run draws the same examples; `pytest --hypothesis-profile=fresh` draws others each time, and
# prints how to draw a failing one again.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("fresh", deadline=None, print_blob=True)
settings.load_profile("same")

CONFIG = Path(__file__).parents[1] / "config"
LAPTOP = ["--config", str(CONFIG)]


@lru_cache(maxsize=64)
def parsed(text: str) -> bytes:
    """What the parser of config files makes of a text, pickled: so a copy is made fastest."""
    return pickle.dumps(plain_yaml.parse(text))


def pytest_configure() -> None:
    """One thread here and in child processes: for models this small a second one is in the way.

    Hundreds of tests change one file of the configuration and read them all; what stays the same is
    parsed once, which is most of the work.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    yaml_files.parse = lambda text: pickle.loads(parsed(text))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process starts one when the others are done."""
    marks = ("slow", "workflow")
    slow = {item.path for item in items if any(map(item.get_closest_marker, marks))}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the committed configuration."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


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


@pytest.fixture(scope="session")
def smoke() -> Project:
    """The smoke preset as it is committed."""
    return load_project("smoke", CONFIG)


@pytest.fixture(scope="session")
def laptop() -> Project:
    """The laptop preset as it is committed."""
    return load_project("laptop", CONFIG)


@pytest.fixture(scope="session")
def laptop_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock file of the laptop preset's assets, fetched where the cache lacks them."""
    lock = tmp_path_factory.mktemp("laptop") / "assets.lock.json"
    if main([*LAPTOP, "fetch", "--preset", "laptop", "--out", str(lock)]):
        assert not os.environ.get("CI"), "the assets can't be fetched"
        pytest.skip("`lemon fetch --preset laptop` must work once, with a network")
    return lock


@pytest.fixture(scope="session")
def laptop_tasks(laptop_assets: Path) -> Path:
    """The laptop preset's benchmark rows, in the layout of the Hub."""
    folder = laptop_assets.parent / "tasks"
    command = [*LAPTOP, "prepare", "tasks", "--preset", "laptop", "--assets", str(laptop_assets)]
    assert main([*command, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def models(tiny_model_folder: Path) -> dict[str, Any]:
    """The grouped, tied model and its tokenizer, as lm-eval's models take them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return {
        "pretrained": AutoModelForCausalLM.from_pretrained(tiny_model_folder),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder),
    }
