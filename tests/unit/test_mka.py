"""MKA against the same measures from transformers' model, in numpy and scikit-learn's estimator."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, write_tiny_model
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_regression
from transformers import LlamaForCausalLM

from lemon.architecture import LAYER_TYPES, NORM_TYPES
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods import manifold, mka
from lemon.methods.calibration import Calibration
from lemon.methods.context import BuildContext
from lemon.operators.factor import one_hot
from lemon.operators.fuse import fuse_tensors

LAYERS = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("mka")
    return Checkpoint(write_tiny_model(folder, **{**GROUPED_TIED, "num_hidden_layers": LAYERS}))


def context(source: Checkpoint, depth: int, rows: int = 6) -> BuildContext:
    tokens = torch.randint(272, (rows, 21), generator=torch.Generator().manual_seed(5))
    tokens[:, 0] = torch.arange(rows)  # equal first tokens would be equal points, without an order
    calibration = Calibration(source, tokens, [], 2, torch.float32, torch.device("cpu"))
    return BuildContext(source, source.shape.with_depth(depth), calibration=calibration)


def literal_map(points: np.ndarray) -> np.ndarray:
    """The diffusion map by a singular value decomposition, ranks by sorting."""
    n = len(points)
    kernel = np.array(
        [[np.exp(-((np.linalg.norm(x - y) / 8) ** 0.5)) for y in points] for x in points]
    )
    total = kernel.sum(0)
    kernel = np.array(
        [[kernel[s, t] / (total[s] * total[t]) ** 0.5 for t in range(n)] for s in range(n)]
    )
    root = np.sqrt(kernel.sum(0))
    left, _, _ = np.linalg.svd(kernel / np.outer(root, root))
    coordinates = left[:, 1:3] / left[:, :1]
    return np.stack([[sorted(c).index(value) for value in c] for c in coordinates.T], 1)


def literal_information(x: np.ndarray, y: np.ndarray) -> float:
    """Estimator 1 of Kraskov and others with 5 neighbours, token by token."""
    terms = []
    for s in range(len(x)):
        others = [t for t in range(len(x)) if t != s]
        apart = [(abs(x[s] - x[t]), abs(y[s] - y[t])) for t in others]
        reach = sorted(max(pair) for pair in apart)[4]
        near = [sum(pair[axis] < reach for pair in apart) for axis in (0, 1)]
        terms.append(sum(digamma(count + 1) for count in near))
    return max(0.0, digamma(5) + digamma(len(x)) - np.mean(terms))


def literal_entropy(points: np.ndarray) -> float:
    """With 50 neighbours in two dimensions."""
    terms = []
    for x in points:
        reach = sorted(np.linalg.norm(x - y) for y in points)[50]
        terms.append(log(len(points) * reach**2 / 50))
    return float(np.mean(terms))


def literal_similarity(one: np.ndarray, other: np.ndarray) -> float:
    shared = np.mean([literal_information(x, y) for x in one.T for y in other.T])
    return shared / sqrt(literal_entropy(one / len(one)) * literal_entropy(other / len(other)))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_mka_is_the_literal_merge_of_the_last_layers(source, depth):
    built = context(source, depth)
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    outputs = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, __, out: outputs.append(out.flatten(0, 1)))
    with torch.no_grad():
        model(built.calibration.tokens_NT1[:, :-1])
    maps = [literal_map(states.double().numpy()) for states in outputs]
    matrices = [t for t in LAYER_TYPES if t not in NORM_TYPES]

    def weight(layer: int, type: str) -> torch.Tensor:
        return model.model.layers[layer].get_submodule(LAYER_TYPES[type][0]).weight.detach()

    merged = {type: weight(LAYERS - 1, type) for type in matrices}
    alike = []
    for layer in range(LAYERS - 2, depth - 2, -1):
        alike.append(min(1, literal_similarity(maps[layer], maps[layer + 1])))
        for type in matrices:
            merged[type] = alike[-1] * weight(layer, type) + (1 - alike[-1]) * merged[type]
    assert 0.1 < min(alike) < 1

    operators = mka.build(built)
    fused = dict(fuse_tensors(source, operators))
    for type in LAYER_TYPES:
        name = LAYER_TYPES[type][0]
        for layer in range(depth):
            found = fused[f"model.layers.{layer}.{name}.weight"]
            if type in NORM_TYPES or layer < depth - 1:
                assert found.equal(weight(layer, type)), (layer, type)
            else:
                torch.testing.assert_close(found, merged[type], rtol=1e-5, atol=1e-6)
    assert operators.gamma["q"].dense().sum(1).tolist() == pytest.approx([1.0] * depth)
    assert one_hot(operators.gamma["ln1"]).chosen.tolist() == list(range(depth))


def test_the_information_is_that_of_scikit_learn_and_of_a_normal_distribution():
    draw = np.random.default_rng(1)
    x = draw.normal(size=1500)
    y = 0.8 * x + 0.6 * draw.normal(size=1500)
    x, y = (v / v.std() for v in (x, y))  # as scikit-learn does; its noise of 1e-10 is the rest
    found = manifold.mutual_information(torch.from_numpy(x), torch.from_numpy(y))
    (theirs,) = mutual_info_regression(x[:, None], y, n_neighbors=5, random_state=0)
    assert found == pytest.approx(theirs, abs=1e-3)
    assert found == pytest.approx(-0.5 * log(1 - 0.8**2), abs=0.05)
    stranger = torch.from_numpy(draw.normal(size=1500))
    assert manifold.mutual_information(torch.from_numpy(x), stranger) < 0.05


def test_the_first_coordinate_of_points_on_a_curve_follows_it():
    angle = torch.linspace(0, 3, 80, dtype=torch.float64)
    places = torch.randperm(80, generator=torch.Generator().manual_seed(2))
    curve = 40 * torch.stack([angle.cos(), angle.sin(), 0.1 * angle], 1)
    ranks = manifold.diffusion_map(curve[places])[:, 0]
    assert sorted(ranks.tolist()) == list(range(80))
    assert abs(np.corrcoef(ranks, places)[0, 1]) > 0.98


def test_a_map_is_as_alike_to_itself_as_any(source):
    one, other = (
        manifold.diffusion_map(torch.randn(100, 8, generator=torch.Generator().manual_seed(seed)))
        for seed in (1, 2)
    )
    assert manifold.similarity(one, one) > 1 > 10 * manifold.similarity(one, other)
    assert manifold.similarity(one, other) == pytest.approx(manifold.similarity(other, one))


def test_at_most_512_tokens_are_taken_at_equal_distances(monkeypatch):
    monkeypatch.setattr(mka, "TOKENS", 60)
    states = torch.arange(4 * 31 * 2.0).view(4, 31, 2)
    taken = mka._some_tokens(states)
    assert taken.equal(states.flatten(0, 1)[::3]) and len(taken) == 42


def test_what_mka_refuses(source):
    with pytest.raises(BadInput, match="more than 50 tokens of calibration text, not 40"):
        mka.build(context(source, 3, rows=2))
    with pytest.raises(BadInput, match="hidden states are not finite"):
        mka._some_tokens(torch.full((3, 30, 2), float("nan")))
