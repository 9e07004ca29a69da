"""Gamma that learns with tied FFNs: one row of parameters, its gradient, and ties in the result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from models import GROUPED_TIED, write_tiny_model

from lemon.architecture import FFN_TYPES, LAYER_TYPES, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.learning.fusion import DepthFusion
from lemon.learning.run import learn
from lemon.learning.source_weights import SourceStack
from lemon.methods import ff_merge
from lemon.methods.build import build
from lemon.methods.context import BuildContext
from lemon.operators.factor import Dense
from lemon.operators.file import load_operators
from lemon.operators.fuse import fuse

CPU = torch.device("cpu")
OPERATORS = "operators.safetensors"
WINDOW, LAYERS = [1, 2, 3], 5


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Checkpoint:
    return Checkpoint(write_tiny_model(tmp_path_factory.mktemp("tied"), **GROUPED_TIED))


@pytest.fixture
def fusion(source) -> DepthFusion:
    """Layers 1 to 3 share an FFN; every row of gamma is perturbed, and theirs alike."""
    context = BuildContext(source, source.shape)
    start = ff_merge.tied(context, range(1, 4), {})
    generator = torch.Generator().manual_seed(4)
    noise = 0.1 * torch.randn(LAYERS, LAYERS, generator=generator)
    noise[2:4] = noise[1]
    gamma = {type: Dense(factor.dense() + noise) for type, factor in start.gamma.items()}
    return DepthFusion(replace(start, gamma=gamma), CPU, tied_ffn=[WINDOW])


def test_tied_layers_share_a_row_and_the_operators_show_it_in_each(fusion):
    assert fusion.start.tied_ffn == fusion.operators().tied_ffn == [WINDOW]
    for type in LAYER_TYPES:
        tied = type in FFN_TYPES
        assert fusion.gamma[type].shape == (3 if tied else 5, 5)
        assert fusion.rows[type] == ([0, 1, 1, 1, 2] if tied else [0, 1, 2, 3, 4])
        assert fusion.operators().gamma[type].matrix.equal(fusion.start.gamma[type].matrix)


@pytest.mark.parametrize("segment", [1, 2, 5])
def test_the_gradient_of_the_shared_row_is_the_sum_of_those_of_its_layers(fusion, source, segment):
    """By hand: of sum_i <G_i, W_small[i]>, row r has the gradient sum over its i of <G_i, W[j]>."""
    stack = SourceStack(source, dtype=torch.float32, device=CPU)
    generator = torch.Generator().manual_seed(6)
    given = {
        type: torch.randn(stack.layers[type].shape, generator=generator) for type in LAYER_TYPES
    }
    total = torch.zeros(())
    for first in range(0, LAYERS, segment):
        last = min(first + segment, LAYERS)
        for layer, weights in enumerate(fusion.layers(stack, first, last), start=first):
            total = total + sum((given[t][layer] * weights[t]).sum() for t in LAYER_TYPES)
    total.backward()
    for type in LAYER_TYPES:
        by_layer = torch.stack(
            [
                torch.stack([(given[type][i] * stack.layers[type][j]).sum() for j in range(LAYERS)])
                for i in range(LAYERS)
            ]
        )
        expected = by_layer
        if type in FFN_TYPES:
            expected = torch.stack([by_layer[0], by_layer[1:4].sum(0), by_layer[4]])
        torch.testing.assert_close(fusion.gamma[type].grad, expected, rtol=1e-4, atol=1e-4)


def test_tied_layers_have_the_same_weights(fusion, source):
    stack = SourceStack(source, dtype=torch.float32, device=CPU)
    layers = fusion.layers(stack, 0, LAYERS)
    for type in FFN_TYPES:
        assert all(layers[layer][type].equal(layers[1][type]) for layer in WINDOW)
        row = fusion.start.gamma[type].matrix[1]
        expected = sum(row[j] * stack.layers[type][j] for j in range(LAYERS))
        torch.testing.assert_close(layers[1][type], expected)
    assert not layers[1]["q"].equal(layers[2]["q"])


@pytest.mark.parametrize(("depth", "size"), [(75, 4), (50, 6)])
def test_learning_keeps_the_ties_of_its_start(learning_world, tmp_path, depth, size):
    project = learning_world.project(steps=4)
    run, source, text = f"lemon-ff-merge-{depth}", learning_world.source, learning_world.text
    build(project, f"ff-merge-{depth}", source, tmp_path / "start", text=text)
    learn(project, run, source, text, tmp_path / "run", start=tmp_path / "start")
    start, _ = load_operators(tmp_path / "start" / OPERATORS)
    learned, _ = load_operators(tmp_path / "run" / OPERATORS)
    ((first, *others),) = learned.tied_ffn
    assert learned.tied_ffn == start.tied_ffn and len(others) == size - 1
    assert not (learned.attn or learned.ffn)
    for type in LAYER_TYPES:
        matrix = learned.gamma[type].matrix
        assert (matrix - start.gamma[type].dense()).abs().max() > 1e-5  # it learned
        tied = [matrix[layer].equal(matrix[first]) for layer in others]
        assert tied == [type in FFN_TYPES] * len(others)
    fuse(tmp_path / "run" / "placed_source", tmp_path / "run" / OPERATORS, tmp_path / "model")
    model = Checkpoint(tmp_path / "model")
    assert model.tied_ffn == learned.tied_ffn
    assert model.num_parameters == project.run(run).num_parameters
    model.digest()  # refuses tied weights that differ
    for type in FFN_TYPES:
        names = [layer_tensor_name(type, layer) for layer in (first, *others)]
        assert all(model.tensor(name).equal(model.tensor(names[0])) for name in names)


def test_a_start_with_other_ties_is_refused(learning_world, tmp_path):
    project = learning_world.project(steps=1)
    source, text = learning_world.source, learning_world.text
    build(project, "ff-merge-50", source, tmp_path / "start", text=text)
    message = r"run lemon-ff-merge-75: its start ties the FFNs of the layers .* one window of 4;"
    with pytest.raises(BadInput, match=message):
        learn(
            *(project, "lemon-ff-merge-75", source, text, tmp_path / "run"),
            start=tmp_path / "start",
        )
