"""Held-out perplexity against Hugging Face's own loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_text import write_packed_text
from task_rows import write_mirror
from transformers import AutoModelForCausalLM

import lemon.evaluation.perplexity as perplexity
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.harness import evaluate
from lemon.evaluation.perplexity import heldout_perplexity
from lemon.files.manifest import sealed
from lemon.files.storage import write_json

LENGTH = 24
# A mean of 24 terms of about 6.6 in float32 is off by up to 2 sqrt(24) 2^-24 of itself, 4e-6, and
# its terms by about as much.
LOSS_OFF = 1e-5
ROWS = {"speeches": 5, "code": 3}
WEIGHTS = {"speeches": 3.0, "code": 1.0}


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model_folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random tokens of the tiny model's vocabulary, packed in two domains."""
    return write_text(tmp_path, seed=0)


def write_text(folder: Path, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    train = {name: draw.integers(0, 256, (1, LENGTH + 1)) for name in ROWS}
    heldout = {name: draw.integers(0, 256, (rows, LENGTH + 1)) for name, rows in ROWS.items()}
    return write_packed_text(folder, train, heldout, WEIGHTS, vocab_size=257)


def hugging_face_loss(model: Any, text: PackedText, domain: str, rows: int) -> float:
    losses = []
    for row in range(rows):
        tokens = torch.from_numpy(text.sequence("heldout", domain, row))[None]
        with torch.no_grad():
            losses.append(float(model(tokens, labels=tokens).loss))
    return sum(losses) / rows  # each row predicts LENGTH tokens


def test_losses_are_hugging_faces(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perplexity, "TOKENS_A_PASS", 2 * LENGTH)  # several passes, the last short
    text = PackedText(folder)
    result = heldout_perplexity(model, text)
    for domain, rows in ROWS.items():
        expected = hugging_face_loss(model, text, domain, rows)
        entry = result["domains"][domain]
        assert entry["loss"] == pytest.approx(expected, abs=LOSS_OFF)
        assert entry["perplexity"] == pytest.approx(math.exp(expected), rel=LOSS_OFF)
        assert entry["tokens"] == rows * LENGTH
    speeches, code = (result["domains"][domain]["loss"] for domain in ROWS)
    assert result["loss"] == pytest.approx((3 * speeches + code) / 4)
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))


def test_a_limit_takes_the_first_sequences(model: Any, folder: Path) -> None:
    text = PackedText(folder)
    result = heldout_perplexity(model, text, sequences=4)
    assert result["domains"]["speeches"]["tokens"] == 4 * LENGTH
    assert result["domains"]["code"]["tokens"] == 3 * LENGTH
    expected = hugging_face_loss(model, text, "speeches", 4)
    assert result["domains"]["speeches"]["loss"] == pytest.approx(expected, abs=LOSS_OFF)


def test_another_vocabulary_and_a_broken_model_are_refused(model: Any, folder: Path) -> None:
    text = PackedText(folder)
    text.vocab_size = model.config.vocab_size + 1
    with pytest.raises(BadInput, match="prepare the text with the model's tokenizer"):
        heldout_perplexity(model, text)
    text.vocab_size = 257
    gain = model.model.norm.weight.data.clone()
    try:
        model.model.norm.weight.data[0] = float("inf")
        with pytest.raises(WorkFailed, match="the held-out loss on speeches is"):
            heldout_perplexity(model, text)
    finally:
        model.model.norm.weight.data = gain


def test_evaluate_writes_it_and_measures_new_text_anew(
    model: Any, tiny_model_folder: Path, folder: Path, tmp_path: Path
) -> None:
    mirror = write_mirror(tmp_path / "mirror", {"piqa": 3})
    out = tmp_path / "outcomes"

    def run() -> dict[str, Any]:
        settings = {"dtype": "float32", "heldout": folder}
        evaluate(tiny_model_folder, ["piqa"], str(mirror), None, out, **settings)
        return json.loads((out / "perplexity.json").read_text())

    first = run()
    assert first["loss"] == pytest.approx(heldout_perplexity(model, PackedText(folder))["loss"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["perplexity"] == first["perplexity"]
    write_json(out / "perplexity.json", sealed({**first, "loss": 0.0}))
    assert run()["loss"] == 0.0  # taken over, not measured again
    write_text(folder, seed=1)
    assert run()["domains"]["code"] != first["domains"]["code"]
