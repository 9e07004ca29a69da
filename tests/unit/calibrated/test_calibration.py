"""Passes through an unfinished model, and the text and memory that they take."""

from __future__ import annotations

import json
import math
from collections import deque
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from calibrated_models import LAYERS, context, loss, states
from models import write_tiny_model
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaForCausalLM

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.configuration.preset import CalibrationSettings
from lemon.data.text.order import SequenceOrder
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.methods import ff_merge
from lemon.methods.calibration import Calibration, cosines, lowest
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.perplexity import mixture_loss


def test_a_pass_gives_the_states_and_the_loss_of_transformers(source, calibration, model):
    whole = context(source, calibration, LAYERS).keeping_layers(range(LAYERS))
    ours = list(calibration.through(whole, range(LAYERS)))
    for mine, theirs in zip(ours, states(model, calibration.tokens_NT1), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    expected = loss(model, calibration.tokens_NT1)
    assert calibration.loss(ours[-1]) == pytest.approx(expected, abs=1e-5)


def test_layers_that_share_an_ffn_hand_it_on_and_no_further(source, calibration):
    operators = ff_merge.tied(context(source, calibration, LAYERS), range(1, 4), {})
    expected = [calibration.embedded()]
    for layer in range(LAYERS):
        weights = calibration.layer(operators, layer)
        expected.append(calibration.after(expected[-1], weights))
    for first in (0, 2):
        found = calibration.through(operators, range(first, LAYERS), expected[first])
        for ours, alone in zip(found, expected[first:], strict=True):
            assert torch.equal(ours, alone)


def most_allocated(trace: Path) -> int:
    """The most bytes that tensors held at once, from the trace of a profile with memory."""
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    return max(accumulate(event["args"]["Bytes"] for event in events))


def test_the_memory_of_an_unfinished_model_is_less_than_is_announced_and_than_two_layers(tmp_path):
    folder = write_tiny_model(
        tmp_path,
        num_hidden_layers=3,
        hidden_size=256,
        intermediate_size=1024,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=257,
        dtype="bfloat16",
    )
    source = Checkpoint(folder)
    tokens = torch.zeros(1, 9, dtype=torch.long)
    calibration = Calibration(source, tokens, [1.0], 1, torch.bfloat16, torch.device("cpu"))
    # The first two layers share their FFN.
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    gamma = dict.fromkeys(LAYER_TYPES, Dense(rows))
    operators = Operators(source.shape, source.shape, gamma=gamma)
    hidden = calibration.embedded()
    calibration.last(operators, range(3), hidden)  # whatever is loaded once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        calibration.last(operators, range(3), hidden)
    profiled.export_chrome_trace(str(tmp_path / "trace.json"))
    bound = calibration.weights_bound + calibration.states_bound
    assert 0.5 * bound < most_allocated(tmp_path / "trace.json") <= bound
    layer = sum(s.num_elements for s in source.specs.values() if s.layer == 0)
    assert calibration.weights_bound < 2 * 2 * layer


def test_calibration_reads_the_order_and_the_mixture(learning_world):
    source, text = Checkpoint(learning_world.source), PackedText(learning_world.text)
    numbers = {"dtype": torch.float32, "device": torch.device("cpu")}
    settings = CalibrationSettings(sequences=5, search_sequences=2)
    found = Calibration.of_text(source, text, settings, 3, 7, **numbers)
    rows = {domain: text.num_sequences("train", domain) for domain in text.domains}
    order = SequenceOrder(rows, text.weights, 7)
    expected = [text.sequence("train", *order.locate(place)) for place in range(5)]
    assert found.tokens_NT1.tolist() == np.stack(expected).tolist()
    assert found.for_search.tokens_NT1.tolist() == np.stack(expected[:2]).tolist()
    assert found.for_search.weights_N == [0.5, 0.5]
    tune = found.for_choice
    assert len(tune.tokens_NT1) == 3 * len(text.domains)
    assert tune.tokens_NT1[3].tolist() == text.sequence("tune", text.domains[1], 0).tolist()
    shares = [sum(tune.weights_N[n : n + 3]) for n in range(0, len(tune.weights_N), 3)]
    assert shares == pytest.approx(list(text.weights.values()))
    states = deque(tune.through(identity(source), range(source.shape.num_hidden_layers)), 1)
    losses = {}
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    for n, domain in enumerate(text.domains):
        losses[domain] = loss(model, tune.tokens_NT1[3 * n : 3 * n + 3])
    assert tune.loss(states.pop()) == pytest.approx(mixture_loss(losses, text.weights), abs=1e-5)
    with pytest.raises(BadInput, match="training sequences, and calibration"):
        many = CalibrationSettings(sequences=10**6)
        Calibration.of_text(source, text, many, 3, 7, **numbers)


def identity(source: Checkpoint):
    shape = source.shape
    return BuildContext(source, shape).keeping_layers(range(shape.num_hidden_layers))


def test_hidden_states_of_zero_have_a_cosine():
    states = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]])
    others = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [4.0, 3.0]]])
    assert cosines(states, others).tolist() == [[1.0, 0.0, pytest.approx(0.96)]]
    with pytest.raises(BadInput, match="not finite on the calibration text"):
        cosines(states * math.inf, others)


def test_a_loss_that_is_not_finite_is_never_the_lowest():
    losses = {"a": math.nan, "b": 2.0, "c": 1.0, "d": 1.0, "e": -math.inf}
    assert lowest(losses, "sleb") == "c"
    with pytest.raises(BadInput, match="method sleb: the loss of every candidate is not finite"):
        lowest({"a": math.nan, "b": math.inf}, "sleb")
