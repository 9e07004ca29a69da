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
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import lemon.evaluation.perplexity as perplexity
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.harness import evaluate
from lemon.evaluation.perplexity import heldout_perplexity
from lemon.files.manifest import sealed
from lemon.files.storage import write_json
from lemon.logits import ROWS as ROWS_IN_CACHE
from lemon.perplexity import mixture_loss

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


Passed = list[tuple[torch.Tensor, torch.Tensor]]


def passed_through(model: Any, text: PackedText, domain: str, split: str) -> Passed:
    """The tokens [1, T] of each sequence and their logits [1, T, V]."""
    rows = [text.sequence(split, domain, row) for row in range(text.num_sequences(split, domain))]
    tokens = [torch.from_numpy(row)[None] for row in rows]
    with torch.no_grad():
        return [(row, model(row).logits) for row in tokens]


def losses_at(temperature: float, model: Any, passed: Passed) -> list[float]:
    """Hugging Face's loss of each sequence, with the logits divided by a temperature."""
    size = model.config.vocab_size
    return [
        float(model.loss_function(logits / temperature, tokens, vocab_size=size))
        for tokens, logits in passed
    ]


def test_losses_are_hugging_faces(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perplexity, "TOKENS_A_PASS", 2 * LENGTH)  # several passes, the last short
    text = PackedText(folder)
    result = heldout_perplexity(model, text)
    for domain, rows in ROWS.items():
        passed = passed_through(model, text, domain, "heldout")
        losses = losses_at(1.0, model, passed)
        expected = sum(losses) / rows  # each row predicts LENGTH tokens
        entry = result["domains"][domain]
        assert entry["losses"] == pytest.approx(losses, abs=LOSS_OFF)
        calibrated = losses_at(result["temperature"], model, passed)
        assert entry["calibrated_losses"] == pytest.approx(calibrated, abs=LOSS_OFF)
        assert entry["calibrated_loss"] == pytest.approx(sum(calibrated) / rows, abs=LOSS_OFF)
        assert entry["documents"] == [*range(rows)]
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
    passed = passed_through(model, text, "speeches", "heldout")
    expected = sum(losses_at(1.0, model, passed[:4])) / 4
    assert result["domains"]["speeches"]["loss"] == pytest.approx(expected, abs=LOSS_OFF)


def likely_rows(model: Any, draw: np.random.Generator) -> np.ndarray:
    """Four rows in which most tokens are those that the model finds likeliest."""
    tokens = torch.from_numpy(draw.integers(0, 256, (4, 1)))
    for _ in range(LENGTH):
        with torch.no_grad():
            best = model(tokens).logits[:, -1:].argmax(dim=-1).squeeze(1)
        drawn = torch.from_numpy(draw.integers(0, 256, 4))
        follows = torch.from_numpy(draw.random(4) < 0.7)
        tokens = torch.cat([tokens, torch.where(follows, best, drawn)[:, None]], dim=1)
    return tokens.numpy()


@pytest.mark.slow
def test_the_temperature_is_the_best_of_a_grid_on_the_tune_text(model: Any, tmp_path: Path) -> None:
    """Logits of a model that is eight times too sure are divided by eight times as much."""
    draw = np.random.default_rng(3)
    train = {name: draw.integers(0, 256, (4, LENGTH + 1)) for name in ROWS}
    tune = {name: likely_rows(model, draw) for name in ROWS}
    folder = write_packed_text(tmp_path, train, train, WEIGHTS, vocab_size=257, tune=tune)
    text = PackedText(folder)
    gain = model.model.norm.weight.data
    found = []
    for sureness in (1.0, 8.0):
        model.model.norm.weight.data = gain * sureness
        found.append(perplexity.best_temperature(model, text))
        grid = np.geomspace(0.05, 50.0, 400)
        passed = {name: passed_through(model, text, name, "tune") for name in ROWS}

        def loss(temperature: float, passed: dict[str, Passed] = passed) -> float:
            by_domain = {
                name: np.mean(losses_at(temperature, model, rows)) for name, rows in passed.items()
            }
            return float(mixture_loss(by_domain, text.weights))

        losses = [loss(temperature) for temperature in grid]
        best = int(np.argmin(losses))
        assert losses[best] >= loss(found[-1]) - LOSS_OFF
        assert grid[max(best - 1, 0)] <= found[-1] <= grid[min(best + 1, 399)]
    model.model.norm.weight.data = gain
    assert found[1] == pytest.approx(8.0 * found[0], rel=0.02)


def test_few_rows_at_a_time_change_no_bit_of_a_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 3 * ROWS_IN_CACHE + 5
    logits = (4 * torch.randn(rows, 5003, generator=generator)).bfloat16()
    targets = torch.randint(5003, (rows,), generator=generator)
    at_once = logits.float() / 1.3
    losses = perplexity._token_losses(logits, targets, 1.3)
    assert torch.equal(losses, cross_entropy(at_once, targets, reduction="none"))
    assert perplexity._summed(losses) == cross_entropy(at_once, targets, reduction="sum").item()


def test_another_vocabulary_and_a_broken_model_are_refused(model: Any, folder: Path) -> None:
    text = PackedText(folder)
    text.vocab_size = model.config.vocab_size + 1
    with pytest.raises(BadInput, match="prepare the text with the model's tokenizer"):
        heldout_perplexity(model, text)
    text.vocab_size = 257
    gain = model.model.norm.weight.data.clone()
    try:
        model.model.norm.weight.data[0] = float("inf")
        with pytest.raises(WorkFailed, match="the loss on the tune text is not finite"):
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


def test_a_domain_counts_by_its_weight_and_not_by_its_rows(model: Any, tmp_path: Path) -> None:
    """The best temperature stays, if the same tune row of one domain is there three times."""
    draw = np.random.default_rng(4)
    rows = {name: draw.integers(0, 256, (1, LENGTH + 1)) for name in ROWS}
    once = {**rows, "speeches": likely_rows(model, draw)[:1]}
    often = {**once, "code": once["code"].repeat(3, axis=0)}
    found = []
    for name, tune in (("once", once), ("often", often)):
        folder = write_packed_text(tmp_path / name, rows, rows, WEIGHTS, vocab_size=257, tune=tune)
        found.append(perplexity.best_temperature(model, PackedText(folder)))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
