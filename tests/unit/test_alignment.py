"""Alignment of neurons and heads: the correlation, the permutation, and a start that uses both."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, write_tiny_model
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods import aligned, cut
from lemon.methods.calibration import Calibration
from lemon.methods.context import BuildContext
from lemon.operators.factor import keeping
from lemon.operators.fuse import fuse_tensors
from lemon.similarity.alignment import Features, correlation, matched


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Checkpoint:
    return Checkpoint(write_tiny_model(tmp_path_factory.mktemp("aligned"), **GROUPED_TIED))


def given(source: Checkpoint, depth: int = 3) -> BuildContext:
    tokens = torch.randint(272, (6, 41), generator=torch.Generator().manual_seed(1))
    calibration = Calibration(source, tokens, [1 / 6] * 6, 2, torch.float32, torch.device("cpu"))
    context = BuildContext(source, source.shape.with_depth(depth), calibration=calibration)
    return replace(context, start=cut.build(context))


def of(values) -> Features:
    return Features.of(torch.as_tensor(values), "layer 1")


def test_the_correlation_is_that_of_numpy():
    draw = np.random.default_rng(2)
    x, y = draw.normal(100, 3, (50, 6)), draw.normal(-2, 0.1, (50, 6))
    y[:, 2] += 0.05 * x[:, 4]
    expected = np.corrcoef(x, y, rowvar=False)[:6, 6:]
    found = correlation(of(x), of(y)).numpy()
    # float32 keeps a mean of 100 to 1e-5
    np.testing.assert_allclose(found, expected, atol=1e-5)
    centred = correlation(of(x - 100), of(y)).numpy()
    np.testing.assert_allclose(centred, expected, atol=1e-6)


def test_a_feature_that_never_moves_matches_nothing():
    x = torch.randn(20, 3)
    x[:, 1] = 3.25
    assert correlation(of(x), of(x))[1].tolist() == [0, 0, 0]
    with pytest.raises(BadInput, match="layer 1: feature 2 is not finite"):
        of(x / torch.tensor([1, 1, 0.0]))
    with pytest.raises(BadInput, match="at least two tokens"):
        of(x[:1])


@pytest.mark.parametrize("seed", range(5))
def test_the_match_has_the_largest_sum_of_all_permutations(seed):
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed))
    best = max(permutations(range(5)), key=lambda order: sum(scores[p, order[p]] for p in range(5)))
    assert matched(scores).chosen.tolist() == list(best)


def test_a_planted_order_is_recovered(source, tmp_path):
    """Layer 1 is layer 0 in another order, and neither adds anything, so both read the same."""
    generator = torch.Generator().manual_seed(7)
    neurons = torch.randperm(source.shape.intermediate_size, generator=generator)
    groups, rows = [2, 0, 1], source.shape.group_size * source.shape.head_dim
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    first, second = model.model.layers[:2]
    second.load_state_dict(first.state_dict())

    def reordered(weight: torch.Tensor, block: int) -> torch.Tensor:
        return weight.unflatten(0, (-1, block))[groups].flatten(0, 1)

    with torch.no_grad():
        for name in ("gate_proj", "up_proj"):
            getattr(second.mlp, name).weight.copy_(getattr(first.mlp, name).weight[neurons])
        for name, block in (("q_proj", rows), ("k_proj", 8), ("v_proj", 8)):
            own = getattr(first.self_attn, name).weight
            getattr(second.self_attn, name).weight.copy_(reordered(own, block))
        for layer in (first, second):
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.o_proj.weight.zero_()
    model.save_pretrained(tmp_path / "planted")
    operators = aligned.build(given(Checkpoint(tmp_path / "planted")))
    assert operators.ffn[1].chosen.tolist() == neurons.argsort().tolist()
    assert operators.attn[1].chosen.tolist() == torch.tensor(groups).argsort().tolist()


def test_an_aligned_source_computes_the_same(source):
    operators = aligned.build(given(source))
    assert sorted(operators.ffn) == sorted(operators.attn) == [1, 2, 3, 4]
    moved = [f.chosen.tolist() != list(range(f.num_inputs)) for f in operators.ffn.values()]
    assert all(moved)
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    tokens = torch.arange(60).reshape(2, 30)
    with torch.no_grad():
        before = model(tokens).logits
        permuted = replace(operators, target=source.shape, gamma={})
        model.load_state_dict(dict(fuse_tensors(source, permuted)), strict=False)
        torch.testing.assert_close(model(tokens).logits, before, atol=1e-5, rtol=0)


def test_the_gamma_is_that_of_the_start_which_maps_layers_alone(source):
    context = given(source)
    assert aligned.build(context).gamma == context.start.gamma
    narrow = replace(context.start, ffn={0: keeping(range(64), 64)})
    for start in (None, narrow):
        with pytest.raises(BadInput, match="needs a start that maps layers alone"):
            aligned.build(replace(context, start=start))
