"""Builders that look at activations, against the same measures taken from transformers' model."""

from __future__ import annotations

import json
import math
from collections import deque
from copy import deepcopy
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaForCausalLM

from lemon.architecture import LAYER_TYPES, NORM_TYPES, LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.configuration.methods import METHODS as METHODS_BY_NAME
from lemon.configuration.preset import CalibrationSettings
from lemon.data.text.order import SequenceOrder
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.methods import (
    come,
    come_posterior,
    come_sum,
    laco,
    minitron,
    shortgpt,
    sleb,
    window_drop,
)
from lemon.methods.build import builder_of
from lemon.methods.calibration import Calibration, cosines, lowest
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import NOTHING, Dense, one_hot
from lemon.operators.fuse import fuse_tensors, fused_layer
from lemon.perplexity import mixture_loss

METHODS = ("shortgpt", "sleb", "laco", "mka", "come", "come-posterior", "come-sum", "window-drop")
LAYERS, ROWS = 6, 6


@pytest.fixture(scope="module", params=[GROUPED_TIED, PLAIN_UNTIED], ids=["grouped", "plain"])
def source(request, tmp_path_factory) -> Checkpoint:
    """Six layers with two query heads a group and a tied head, or with neither."""
    folder = tmp_path_factory.mktemp("calibrated")
    return Checkpoint(write_tiny_model(folder, **{**request.param, "num_hidden_layers": LAYERS}))


@pytest.fixture(scope="module")
def calibration(source) -> Calibration:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(source.shape.vocab_size, (2 * ROWS, 13), generator=generator)
    numbers = (4, torch.float32, torch.device("cpu"))
    tune = Calibration(source, tokens[ROWS:], [1 / ROWS] * ROWS, *numbers)
    return Calibration(source, tokens[:ROWS], [1 / ROWS] * ROWS, *numbers, tune)


@pytest.fixture(scope="module")
def model(source) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()


def context(source: Checkpoint, calibration: Calibration, depth: int) -> BuildContext:
    return BuildContext(source, source.shape.with_depth(depth), calibration=calibration)


def states(model: LlamaForCausalLM, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream before the first layer and after each, before the final norm."""
    found = []
    handles = [
        layer.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for layer in model.model.layers
    ]
    handles.append(model.model.norm.register_forward_pre_hook(lambda _, g: found.append(g[0])))
    with torch.no_grad():
        model(tokens[:, :-1])
    for handle in handles:
        handle.remove()
    return found


def without(model: LlamaForCausalLM, dropped: set[int]) -> LlamaForCausalLM:
    small = deepcopy(model)
    layers = [layer for n, layer in enumerate(small.model.layers) if n not in dropped]
    small.model.layers = torch.nn.ModuleList(layers)
    return small


def loss(model: LlamaForCausalLM, tokens: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(tokens[:, :-1], use_cache=False).logits
    return float(cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))


def load_fused(model: LlamaForCausalLM, source: Checkpoint, operators) -> LlamaForCausalLM:
    """The model that operators make, in transformers."""
    small = without(model, set(range(operators.target.num_hidden_layers, LAYERS)))
    small.load_state_dict(dict(fuse_tensors(source, operators)), strict=False)
    return small


def test_a_pass_gives_the_states_and_the_loss_of_transformers(source, calibration, model):
    whole = context(source, calibration, LAYERS).keeping_layers(range(LAYERS))
    ours = list(calibration.through(whole, range(LAYERS)))
    for mine, theirs in zip(ours, states(model, calibration.tokens_NT1), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    expected = loss(model, calibration.tokens_NT1)
    assert calibration.loss(ours[-1]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_layers_of_an_unfinished_model_are_those_that_fuse_writes(source, calibration, method):
    operators = builder_of(method)(context(source, calibration, 4))
    assert operators.target.num_hidden_layers == 4
    written = dict(fuse_tensors(source, operators))
    for layer in range(4):
        for type, weight in fused_layer(source, operators, layer):
            expected = written[layer_tensor_name(type, layer)]
            torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7)


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
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    gamma = dict.fromkeys(LAYER_TYPES, Dense(rows))
    operators = Operators(source.shape, source.shape.with_depth(2), gamma=gamma)
    calibration.layer(operators, 0)  # whatever is loaded once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        for layer in (0, 1):
            calibration.layer(operators, layer)
    profiled.export_chrome_trace(str(tmp_path / "trace.json"))
    bound = calibration.weights_bound
    layer = sum(s.num_elements for s in source.specs.values() if s.layer == 0)
    assert 0.5 * bound < most_allocated(tmp_path / "trace.json") <= bound
    assert bound < 2 * 2 * layer


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
def test_windows_are_a_stride_apart_and_the_last_is_one(source, size, stride, firsts):
    found = BuildContext(source, source.shape, window_stride=stride).windows(size)
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


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "threshold"), [(4, 0.65), (2, 0.995), (1, 0.999)])
def test_laco_is_the_literal_search(source, calibration, model, monkeypatch, depth, threshold):
    monkeypatch.setattr(laco, "THRESHOLD", threshold)
    monkeypatch.setattr(laco, "STEP", 0.002 if threshold > 0.9 else 0.05)
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


def measured(model: LlamaForCausalLM, tokens: torch.Tensor, shape: LlamaShape):
    """Influence and distance by layer, and the scores of its groups and neurons."""
    inputs: dict[str, list[torch.Tensor]] = {"o": [], "down": []}
    handles = [
        layer.get_submodule(LAYER_TYPES[type][0]).register_forward_pre_hook(
            lambda _, given, kept=kept: kept.append(given[0].double())
        )
        for layer in model.model.layers
        for type, kept in inputs.items()
    ]
    hidden = [state.double() for state in states(model, tokens)]
    for handle in handles:
        handle.remove()

    def cosines_of(pairs):
        return [cosine_similarity(a, b, dim=-1).clamp(0, 1) for a, b in pairs]

    influence = [1 - float(cosine.mean()) for cosine in cosines_of(pairwise(hidden))]
    far = cosines_of(zip(hidden, hidden[2:], strict=False))
    distance = [float(cosine.arccos().mean()) / math.pi for cosine in far]
    units = {"o": shape.num_key_value_heads, "down": shape.intermediate_size}
    scores = {"o": [], "down": []}
    for place, layer in enumerate(model.model.layers):
        for type, count in units.items():
            weight = layer.get_submodule(LAYER_TYPES[type][0]).weight.double()
            channels = inputs[type][place].abs().mean((0, 1)) * weight.abs().sum(0)
            scores[type].append(channels.view(count, -1).mean(1).tolist())
    return influence, distance, scores


def kept_units(first: list[float], second: list[float], share: float) -> list[list[int]]:
    count = len(first)
    few = int(count * min(share, 1 - share))
    counts = (few, count - few) if share < 0.5 else (count - few, few)
    return [
        sorted(sorted(range(count), key=lambda unit: -score[unit])[:n])
        for score, n in zip((first, second), counts, strict=True)
    ]


def joined(weights: tuple[torch.Tensor, torch.Tensor], units: list[list[int]], block: int):
    """The blocks of rows of both weights, one behind the other."""
    rows = [
        w.unflatten(0, (-1, block))[u].flatten(0, 1) for w, u in zip(weights, units, strict=True)
    ]
    return torch.cat(rows)


def concatenated(source: Checkpoint, model, tokens: torch.Tensor, rounds: int, sums: bool = False):
    """CoMe written down literally: weights of transformers' model, cut and joined each round."""
    shape, small = source.shape, deepcopy(model)
    leaves = [{layer} for layer in range(LAYERS)]
    blocks = {"q": shape.group_size * shape.head_dim, "k": shape.head_dim, "v": shape.head_dim}
    for _ in range(rounds):
        influence, distance, scores = measured(small, tokens, shape)
        a = distance.index(min(distance))
        share = influence[a] / (influence[a] + influence[a + 1])
        kept = {type: kept_units(*found[a : a + 2], share) for type, found in scores.items()}
        first, second = small.model.layers[a : a + 2]
        for type, (name, _) in LAYER_TYPES.items():
            weight, other = (layer.get_submodule(name).weight.data for layer in (first, second))
            if type in NORM_TYPES:
                merged = (weight + other) / 2
            elif sums:
                merged = share * weight + (1 - share) * other
            elif type == "o":
                merged = joined((weight.T, other.T), kept["o"], blocks["q"]).T
            elif type == "down":
                merged = joined((weight.T, other.T), kept["down"], 1).T
            else:
                units = kept["o" if type in blocks else "down"]
                merged = joined((weight, other), units, blocks.get(type, 1))
            first.get_submodule(name).weight.data = merged.contiguous()
        del small.model.layers[a + 1]
        leaves[a : a + 2] = [leaves[a] | leaves[a + 1]]
    return small, leaves


@pytest.mark.parametrize("rounds", [1, 3])
def test_come_is_the_naive_concatenation_bit_for_bit(source, calibration, model, rounds):
    operators = come.build(context(source, calibration, LAYERS - rounds))
    expected, leaves = concatenated(source, model, calibration.tokens_NT1, rounds)
    found = [set(row.nonzero().flatten().tolist()) for row in operators.gamma["q"].dense()]
    assert found == leaves
    fused, weights = dict(fuse_tensors(source, operators)), expected.state_dict()
    for name, weight in fused.items():
        type = next((t for t, (m, _) in LAYER_TYPES.items() if f".{m}." in name), "")
        if type in NORM_TYPES:  # summed in another order
            torch.testing.assert_close(weight, weights[name], rtol=1e-6, atol=1e-7)
        else:
            assert weight.equal(weights[name]), name


def test_come_with_sums_is_the_naive_weighted_sum(source, calibration, model):
    operators = come_sum.build(context(source, calibration, LAYERS - 3))
    expected, _ = concatenated(source, model, calibration.tokens_NT1, 3, sums=True)
    for name, weight in fuse_tensors(source, operators):
        torch.testing.assert_close(weight, expected.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_the_places_of_a_merged_layer_are_all_filled_once(source, calibration):
    operators = come.build(context(source, calibration, 2))
    for factors in (operators.attn, operators.ffn):
        filled = torch.zeros(2, next(iter(factors.values())).shape[0])
        owner = operators.gamma["q"].dense()
        for leaf, factor in factors.items():
            filled[int(owner[:, leaf].nonzero())] += (factor.chosen != NOTHING).float()
        merged = owner.sum(1) > 1
        assert (filled[merged] == 1).all()


def test_equal_scores_keep_the_first_places_and_shares_add_up():
    equal = torch.ones(5)
    own, others = come.kept_places(equal, equal, 0.3)
    assert (own.tolist(), others.tolist()) == ([0], [0, 1, 2, 3])
    own, others = come.kept_places(equal, equal, 0.5)  # the first layer has the rest
    assert (own.tolist(), others.tolist()) == ([0, 1, 2], [0, 1])
    own, others = come.kept_places(torch.tensor([1.0, 3, 2, 3, 0]), equal, 1.0)
    assert (own.tolist(), others.tolist()) == ([0, 1, 2, 3, 4], [])


def test_the_posterior_share_has_the_least_loss(source, calibration, model):
    given = context(source, calibration, LAYERS - 1)
    state = [come.unmerged(given, layer) for layer in range(LAYERS)]
    measured = come.measure(calibration, come.operators_of(given, state))
    best = come_posterior.best_share(given, state, measured, 2)
    tokens = calibration.tokens_NT1[:4]
    losses = {}
    for step in range(21):
        merged = come.merge(state, measured, 2, step / 20)
        small = load_fused(model, source, come.operators_of(given, merged))
        losses[step / 20] = loss(small, tokens)
    assert losses[best] == pytest.approx(min(losses.values()), abs=1e-6)


def test_minitron_keeps_the_largest_activations(source, calibration, model):
    shape = source.shape
    target = LlamaShape(
        **{
            **vars(shape),
            "hidden_size": 24,
            "intermediate_size": 24,
            "num_attention_heads": shape.group_size,
            "num_key_value_heads": 1,
        }
    )
    inputs: dict[str, list[torch.Tensor]] = {"q": [], "gate": [], "o": [], "down": []}
    for layer in model.model.layers:
        for type, kept in inputs.items():
            layer.get_submodule(LAYER_TYPES[type][0]).register_forward_pre_hook(
                lambda _, given, kept=kept: kept.append(given[0].double())
            )
    with torch.no_grad():
        model(calibration.tokens_NT1[:, :-1])
    sizes = {
        type: [layer.abs().mean(1).pow(2).sum(0).sqrt() for layer in layers[:LAYERS]]
        for type, layers in inputs.items()
    }
    operators = minitron.build(BuildContext(source, target, calibration=calibration))
    stream = sum(sizes["q"]) + sum(sizes["gate"])
    assert operators.hidden.chosen.tolist() == stream.topk(24).indices.sort().values.tolist()
    for layer in range(LAYERS):
        neurons = sizes["down"][layer].topk(24).indices.sort().values
        assert operators.ffn[layer].chosen.tolist() == neurons.tolist()
        groups = sizes["o"][layer].view(shape.num_key_value_heads, -1).pow(2).sum(1)
        first = int(groups.argmax()) * shape.head_dim
        assert operators.attn[layer].chosen.tolist() == [*range(first, first + shape.head_dim)]


def test_a_loss_that_is_not_finite_is_never_the_lowest():
    losses = {"a": math.nan, "b": 2.0, "c": 1.0, "d": 1.0, "e": -math.inf}
    assert lowest(losses, "sleb") == "c"
    with pytest.raises(BadInput, match="method sleb: the loss of every candidate is not finite"):
        lowest({"a": math.nan, "b": math.inf}, "sleb")


@pytest.mark.parametrize(
    "method", [*METHODS, "minitron", "ff-merge", "ff-merge-vanilla", "aligned"]
)
def test_a_builder_reads_the_rows_that_its_method_says(source, calibration, monkeypatch, method):
    read = {"training": 0, "tune": 0}
    embedded = Calibration.embedded

    def counted(self: Calibration) -> torch.Tensor:
        kind = "training" if self.tune is not None else "tune"
        read[kind] = max(read[kind], len(self.tokens_NT1))
        return embedded(self)

    monkeypatch.setattr(Calibration, "embedded", counted)
    given = context(
        source, calibration, LAYERS if method in ("minitron", "aligned") else LAYERS - 1
    )
    if method.startswith("ff-merge"):
        given = replace(given, target=source.shape, tied_ffn_layers=2)
    if method == "aligned":
        given = replace(given, start=given.keeping_layers(range(LAYERS)))
    builder_of(method)(replace(given, method=method))
    rows = {"sequences": ROWS, "search_sequences": 4, None: 0}
    said = METHODS_BY_NAME[method]
    assert read == {"training": rows[said.calibration_rows], "tune": ROWS * said.chooses}


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


@pytest.mark.parametrize("method", METHODS)
def test_without_text_or_with_other_widths_a_method_is_refused(source, calibration, method):
    with pytest.raises(BadInput, match=f"method {method} looks at activations; give packed text"):
        builder_of(method)(BuildContext(source, source.shape.with_depth(3), method=method))
    narrow = LlamaShape(**{**vars(source.shape), "intermediate_size": 16})
    with pytest.raises(BadInput, match=f"method {method} removes layers only"):
        builder_of(method)(BuildContext(source, narrow, calibration=calibration))
