"""ShortGPT, SLEB and the window of layers, against the same measures in transformers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from calibrated_models import LAYERS, context, loss, states, without
from torch.nn.functional import cosine_similarity

from lemon.methods import shortgpt, sleb, window_drop
from lemon.methods.context import windows
from lemon.operators.factor import one_hot


def test_shortgpt_keeps_the_layers_of_highest_influence(source, calibration, model):
    hidden = states(model, calibration.tokens_NT1)
    influence = [
        1 - float(cosine_similarity(a.double(), b.double(), dim=-1).mean())
        for a, b in pairwise(hidden)
    ]
    kept = one_hot(shortgpt.build(context(source, calibration, 3)).gamma["q"]).chosen.tolist()
    assert kept == sorted(sorted(range(LAYERS), key=lambda layer: influence[layer])[3:])


def test_sleb_drops_the_layer_of_least_loss_each_time(source, calibration, model):
    tokens, dropped = calibration.tokens_NT1[:4], set()
    for _ in range(3):
        left = [layer for layer in range(LAYERS) if layer not in dropped]
        dropped.add(min(left, key=lambda layer: loss(without(model, {*dropped, layer}), tokens)))
    kept = one_hot(sleb.build(context(source, calibration, 3)).gamma["q"]).chosen.tolist()
    assert kept == [layer for layer in range(LAYERS) if layer not in dropped]


def test_the_window_of_least_loss_is_dropped(source, calibration, model):
    losses = [
        loss(without(model, {first, first + 1, first + 2}), calibration.tune.tokens_NT1)
        for first in range(LAYERS - 2)
    ]
    first = losses.index(min(losses))
    kept = one_hot(window_drop.build(context(source, calibration, 3)).gamma["q"]).chosen.tolist()
    assert kept == [layer for layer in range(LAYERS) if not first <= layer < first + 3]


@pytest.mark.parametrize(
    ("size", "stride", "firsts"),
    [(3, 1, [0, 1, 2, 3]), (3, 2, [0, 2, 3]), (2, 2, [0, 2, 4]), (3, 99, [0, 3]), (6, 4, [0])],
)
def test_windows_are_a_stride_apart_and_the_last_is_one(size, stride, firsts):
    found = windows(LAYERS, size, stride)
    assert found == [range(first, first + size) for first in firsts]


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_only_windows_of_the_stride_are_dropped(source, calibration, model, stride):
    tokens = calibration.tune.tokens_NT1
    firsts = [first for first in range(5) if first % stride == 0 or first == 4]
    losses = {first: loss(without(model, {first, first + 1}), tokens) for first in firsts}
    first = min(firsts, key=losses.__getitem__)
    strided = replace(context(source, calibration, LAYERS - 2), window_stride=stride)
    kept = one_hot(window_drop.build(strided).gamma["q"]).chosen.tolist()
    assert kept == [layer for layer in range(LAYERS) if layer not in (first, first + 1)]
