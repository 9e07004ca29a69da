"""LaCo against its search on transformers' weights."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from calibrated_models import LAYERS, context, states
from torch.nn.functional import cosine_similarity

from lemon.architecture import LAYER_TYPES, NORM_TYPES
from lemon.methods import laco
from lemon.operators.factor import one_hot


def test_laco_adds_the_differences_to_the_layers_behind():
    rows = torch.eye(5)
    once = laco.collapsed(rows, 1, 2)
    assert once.tolist() == [
        [1, 0, 0, 0, 0],
        [0, -1, 1, 1, 0],  # W1 + (W2 - W1) + (W3 - W1)
        [0, 0, 0, 0, 1],
    ]
    assert laco.collapsed(once, 0, 1).tolist() == [[0, -1, 1, 1, 0], [0, 0, 0, 0, 1]]


def literal_laco(model, tokens: torch.Tensor, depth: int) -> tuple[list[list[float]], list[str]]:
    """The search on transformers' weights: gamma's rows, and what was decided."""
    small, rows, events = deepcopy(model), torch.eye(LAYERS).tolist(), []
    whole, threshold = states(model, tokens)[-1].double(), laco.THRESHOLD
    while len(rows) > depth:
        layer = max(0, len(rows) - 1 - laco.COLLAPSED)
        while layer >= 0 and len(rows) > depth:
            count = min(laco.COLLAPSED - 1, len(rows) - 1 - layer, len(rows) - depth)
            trial = deepcopy(small)
            base = trial.model.layers[layer]
            for type, (name, _) in LAYER_TYPES.items():
                if type not in NORM_TYPES:
                    own = small.model.layers[layer].get_submodule(name).weight.data
                    parts = [
                        small.model.layers[layer + k].get_submodule(name).weight.data - own
                        for k in range(1, count + 1)
                    ]
                    base.get_submodule(name).weight.data = own + sum(parts)
            del trial.model.layers[layer + 1 : layer + 1 + count]
            final = states(trial, tokens)[-1].double()
            if float(cosine_similarity(whole, final, dim=-1).mean()) > threshold:
                own = rows[layer]
                one = [
                    x + sum(rows[layer + k][j] - x for k in range(1, count + 1))
                    for j, x in enumerate(own)
                ]
                rows[layer : layer + 1 + count] = [one]
                small, layer = trial, layer - laco.INTERVAL
                events.append("kept")
            else:
                layer -= 1
                events.append("refused")
        threshold -= laco.STEP
        events.append("lower")
    return rows, events


@pytest.mark.parametrize(("depth", "threshold"), [(4, 0.65), (2, 0.995), (1, 0.999)])
def test_laco_is_the_literal_search(source, calibration, model, monkeypatch, depth, threshold):
    monkeypatch.setattr(laco, "THRESHOLD", threshold)
    monkeypatch.setattr(laco, "STEP", 0.03 if threshold > 0.9 else 0.05)
    monkeypatch.setattr(laco, "COLLAPSED", 3)
    expected, events = literal_laco(model, calibration.tokens_NT1[:4], depth)
    operators = laco.build(context(source, calibration, depth))
    found = operators.gamma["q"].dense()
    torch.testing.assert_close(found, torch.tensor(expected))
    if threshold > 0.9:
        assert {"kept", "refused", "lower"} == set(events)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_laco_ends_at_the_depth_with_the_norms_of_the_first_layers(source, calibration, depth):
    operators = laco.build(context(source, calibration, depth))
    for type in LAYER_TYPES:
        gamma = operators.gamma[type].dense()
        assert gamma.shape == (depth, LAYERS)
        assert gamma.sum(1).tolist() == pytest.approx([1.0] * depth)
    bases = one_hot(operators.gamma["ln1"]).chosen.tolist()
    assert bases == sorted(bases) and bases[0] == 0
