"""CoMe against a literal concatenation of transformers' weights."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from calibrated_models import LAYERS, context, load_fused, loss, states
from torch.nn.functional import cosine_similarity
from transformers import LlamaForCausalLM

from lemon.architecture import LAYER_TYPES, NORM_TYPES, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.methods import come, come_posterior, come_sum
from lemon.operators.factor import NOTHING
from lemon.operators.fuse import fuse_tensors


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
    assert (own, others) == ([0], [0, 1, 2, 3])
    own, others = come.kept_places(equal, equal, 0.5)  # the first layer has the rest
    assert (own, others) == ([0, 1, 2], [0, 1])
    own, others = come.kept_places(torch.tensor([1.0, 3, 2, 3, 0]), equal, 1.0)
    assert (own, others) == ([0, 1, 2, 3, 4], [])


def test_the_posterior_share_has_the_least_loss(source, calibration, model):
    given = context(source, calibration, LAYERS - 1)
    state = [come.unmerged(given, layer) for layer in range(LAYERS)]
    measured = come.measure(calibration, come.operators_of(given, state))
    best = come_posterior.best_share(given, state, measured, 2)
    tokens = calibration.tokens_NT1[:4]
    losses = {}
    for step in range(21):
        merged = come.merge(state, come.Merge.of(measured, 2, step / 20))
        small = load_fused(model, source, come.operators_of(given, merged))
        losses[step / 20] = loss(small, tokens)
    assert losses[best] == pytest.approx(min(losses.values()), abs=1e-6)
