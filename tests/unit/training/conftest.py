"""The text of the model of two matrices, and its trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram import LENGTH, SEED, SETTINGS, STEPS, VOCABULARY, WEIGHTS, Make, PlainTrainee
from packed_text import write_packed_text

from lemon.data.text.packing import PackedText
from lemon.training.batches import Batches
from lemon.training.checkpoints import TrainingCheckpoints
from lemon.training.divergence import Divergence
from lemon.training.loop import Trainer


@pytest.fixture
def text(tmp_path: Path) -> PackedText:
    draw = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        return draw.integers(0, VOCABULARY, (count, LENGTH + 1))

    train = {"prose": rows(9), "code": rows(4)}
    heldout = {"prose": rows(7), "code": rows(3)}
    return PackedText(write_packed_text(tmp_path / "text", train, heldout, WEIGHTS, VOCABULARY))


@pytest.fixture
def trainer(text: PackedText, tmp_path: Path) -> Make:
    def trainer(
        folder: str = "run", trainee: PlainTrainee | None = None, key: str = "k", **changes: Any
    ) -> Trainer:
        out = tmp_path / folder
        parts: dict[str, Any] = {
            "settings": SETTINGS,
            "steps": STEPS,
            "batches": Batches(text, SEED),
            "divergence": Divergence(2.0),
        }
        return Trainer(
            label="tiny",
            trainee=trainee or PlainTrainee(),
            text=text,
            checkpoints=TrainingCheckpoints(out / "checkpoints", key),
            metrics_path=out / "metrics.jsonl",
            **{**parts, **changes},
        )

    return trainer
