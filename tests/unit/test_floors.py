"""Floors of perplexity against hand counts, and against dense arrays on drawn text."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import lemon.data.text.floors
from lemon.data.text.floors import floors

DRAW = np.random.default_rng(0)


def rows_of(*tokens: int) -> np.ndarray:
    return np.array([tokens])


def test_the_unigram_floor_equals_a_hand_count() -> None:
    """Train predicts 1, 1, 2, 1 of V = 4 tokens; tune makes a as small as it may be."""
    train, tune, heldout = rows_of(0, 1, 1, 2, 1), rows_of(1, 1, 1, 1, 2), rows_of(2, 1, 2)
    rows = {"train": {"x": train}, "tune": {"x": tune}, "heldout": {"x": heldout}}
    found = floors(rows, {"x": 1.0}, vocab_size=4)
    a = found["unigram"]["smoothing"]
    assert a is not None and a < 1e-4  # tune has the shares 3/4 and 1/4 of train
    tune_loss = -(3 * math.log((3 + a) / (4 + 4 * a)) + math.log((1 + a) / (4 + 4 * a))) / 4
    assert found["unigram"]["tune_loss"] == pytest.approx(tune_loss, rel=1e-12)
    assert tune_loss == pytest.approx(-(3 * math.log(3 / 4) + math.log(1 / 4)) / 4, abs=1e-3)
    heldout_loss = -(math.log((3 + a) / (4 + 4 * a)) + math.log((1 + a) / (4 + 4 * a))) / 2
    assert found["unigram"]["heldout_loss"] == pytest.approx(heldout_loss, rel=1e-12)
    assert found["uniform"]["heldout_loss"] == pytest.approx(math.log(4), rel=1e-15)


def test_the_floors_equal_those_of_dense_arrays() -> None:
    """Two domains of unequal size; each counts with its weight, not with its size."""
    size, weights = 7, {"x": 0.75, "y": 0.25}
    lengths = {"train": {"x": 40, "y": 90}, "tune": {"x": 9, "y": 5}, "heldout": {"x": 4, "y": 8}}
    odds = np.arange(1, size + 1) / np.arange(1, size + 1).sum()
    rows = {
        split: {name: DRAW.choice(size, (count, 6), p=odds) for name, count in domains.items()}
        for split, domains in lengths.items()
    }
    found = floors(rows, weights, size)

    total = 40 * 5 + 90 * 5
    pair = np.zeros((size, size))
    for name, several in rows["train"].items():
        for row in several:
            for u, v in pairwise(row):
                pair[u, v] += weights[name] * total / (len(several) * 5)

    def loss(p, split):
        return sum(
            weights[name] * -np.mean([math.log(p[u, v]) for r in several for u, v in pairwise(r)])
            for name, several in rows[split].items()
        )

    def unigram(a):
        return np.broadcast_to((pair.sum(0) + a) / (total + a * size), (size, size))

    def bigram(b):
        first = pair.sum(1, keepdims=True)
        return (pair + b * unigram(found["unigram"]["smoothing"])) / (first + b)

    for name, model in (("unigram", unigram), ("bigram", bigram)):
        smoothing = found[name]["smoothing"]
        for split in ("tune", "heldout"):
            expected = loss(model(smoothing), split)
            assert found[name][f"{split}_loss"] == pytest.approx(expected, rel=1e-10)
        best = minimize_scalar(lambda log, of=model: loss(of(math.exp(log)), "tune"), (-2, 2))
        assert found[name]["tune_loss"] <= best.fun + 1e-6


def test_a_bigram_floor_is_below_the_unigram_floor_where_the_next_token_is_determined() -> None:
    cycle = np.arange(60) % 5
    rows = {split: {"x": cycle[None]} for split in ("train", "tune", "heldout")}
    found = floors(rows, {"x": 1.0}, vocab_size=5)
    assert found["unigram"]["heldout_loss"] == pytest.approx(math.log(5), rel=1e-3)
    assert found["bigram"]["heldout_loss"] < 1e-4


def test_a_long_text_is_counted_in_whole_rows_from_its_beginning(monkeypatch) -> None:
    """Six predicted tokens are three rows of two."""
    train = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1], [3, 3, 3], [3, 3, 3]])
    rows = {"tune": {"x": rows_of(0, 1, 3)}, "heldout": {"x": rows_of(1, 3, 2)}}
    expected = floors({"train": {"x": train[:3]}, **rows}, {"x": 1.0}, vocab_size=4)
    monkeypatch.setattr(lemon.data.text.floors, "COUNTED", 6)
    assert floors({"train": {"x": train}, **rows}, {"x": 1.0}, vocab_size=4) == expected
