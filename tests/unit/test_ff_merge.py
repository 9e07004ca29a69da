"""FF-merge against the same computation in numpy, its window search, and its ties on disk."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from lemon.architecture import FFN_TYPES, LAYER_TYPES, LlamaShape, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.configuration.row_lookups import as_many_tied_layers
from lemon.errors import BadInput
from lemon.learning.run import learn
from lemon.methods import ff_merge
from lemon.methods.build import build
from lemon.methods.calibration import Calibration
from lemon.methods.context import BuildContext
from lemon.operators import fuse as fuse_module
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse, fuse_tensors

CONFIG = Path(__file__).parents[2] / "config"
LAYERS, SIZE = 6, 3


@pytest.fixture(scope="module", params=[GROUPED_TIED, PLAIN_UNTIED], ids=["grouped", "plain"])
def source(request, tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("merged")
    return Checkpoint(write_tiny_model(folder, **{**request.param, "num_hidden_layers": LAYERS}))


def given(source: Checkpoint, method: str = "ff-merge", size: int = SIZE) -> BuildContext:
    tokens = torch.randint(272, (12, 41), generator=torch.Generator().manual_seed(1))
    numbers = (2, torch.float32, torch.device("cpu"))
    tune = Calibration(source, tokens[8:], [0.25] * 4, *numbers)
    calibration = Calibration(source, tokens[:8], [0.125] * 8, *numbers, tune)
    return BuildContext(
        *(source, source.shape), calibration=calibration, method=method, tied_ffn_layers=size
    )


def merged_literally(model, tokens: torch.Tensor, window: range, anchor: int | None):
    """The steps of the method in numpy, on transformers' weights; no anchor is vanilla."""
    features: list[np.ndarray] = []
    handles = [
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs: features.append(inputs[0].flatten(0, 1).double().numpy())
        )
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model(tokens[:, :-1])
    for handle in handles:
        handle.remove()
    small = deepcopy(model)
    means = {type: 0.0 for type in FFN_TYPES}
    for layer in window:
        order = np.arange(features[0].shape[1])
        if anchor is not None and layer != anchor:
            both = np.corrcoef(features[anchor], features[layer], rowvar=False)
            _, order = linear_sum_assignment(-both[: len(order), len(order) :])
        for type in FFN_TYPES:
            weight = model.model.layers[layer].get_submodule(LAYER_TYPES[type][0]).weight
            weight = weight.detach().double().numpy()
            moved = weight[:, order] if type == "down" else weight[order]
            means[type] = means[type] + moved / len(window)
    for layer in window:
        for type in FFN_TYPES:
            module = small.model.layers[layer].get_submodule(LAYER_TYPES[type][0])
            module.weight.data = torch.from_numpy(means[type]).float()
    return small


@pytest.mark.parametrize(
    ("method", "place"),
    [("ff-merge", 0), ("ff-merge-middle", 1), ("ff-merge-last", 2), ("ff-merge-vanilla", None)],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_the_literal_merge_of_the_window_of_least_loss(source, method, place, stride):
    context = replace(given(source, method), window_stride=stride)
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    tokens, tune = context.calibration.tokens_NT1, context.calibration.tune.tokens_NT1
    merges, losses = {}, {}
    for first in {1: (0, 1, 2, 3), 2: (0, 2, 3)}[stride]:
        anchor = None if place is None else first + place
        small = merged_literally(model, tokens, range(first, first + SIZE), anchor)
        with torch.no_grad():
            logits = small(tune[:, :-1]).logits
        merges[first] = small
        losses[first] = float(cross_entropy(logits.flatten(0, 1), tune[:, 1:].flatten()))
    first = min(losses, key=losses.__getitem__)
    operators = ff_merge.build(context)
    assert operators.tied_ffn == [list(range(first, first + SIZE))]
    expected = merges[first].state_dict()
    for name, weight in fuse_tensors(source, operators):
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=0)


def test_ties_are_on_disk_and_a_plain_model(source, tmp_path):
    operators = ff_merge.build(given(source))
    file = tmp_path / "operators.safetensors"
    save_operators(file, operators, source_digest=source.digest(), method="ff-merge")
    assert file.stat().st_size < 100_000
    fuse(source.path, file, tmp_path / "model")
    (window,) = json.loads((tmp_path / "model" / "config.json").read_text())["tied_ffn"]
    small = Checkpoint(tmp_path / "model")
    assert [window] == small.tied_ffn == operators.tied_ffn
    small.digest()
    for type in FFN_TYPES:
        first, *others = (small.tensor(layer_tensor_name(type, layer)) for layer in window)
        assert all(other.equal(first) for other in others)
    model = LlamaForCausalLM.from_pretrained(small.path)
    assert model.config.tied_ffn == [window]
    for layer in window[1:]:
        model.model.layers[layer].mlp = model.model.layers[window[0]].mlp
    assert small.num_parameters == sum(p.numel() for p in set(model.parameters()))
    assert small.num_parameters == source.shape.num_parameters - 2 * source.shape.ffn_parameters


@pytest.mark.parametrize("allowed", [1, 20_000])
def test_ties_are_the_same_bits_in_slabs_of_any_size(source, monkeypatch, allowed):
    """Equal rows stand at other places of each product, and are summed once all the same."""
    context = given(source)
    operators = ff_merge.tied(context, range(1, 5), {})
    monkeypatch.setattr(fuse_module, "_memory_allowed", lambda _: allowed)
    weights = dict(fuse_tensors(source, operators))
    for type in FFN_TYPES:
        first, *others = (weights[layer_tensor_name(type, layer)] for layer in range(1, 5))
        assert all(other.equal(first) for other in others)


def test_ties_that_are_not_ties_are_refused(source, tmp_path):
    folder = Path(shutil.copytree(source.path, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    for windows, message in (
        ([[1, 2]], "up_proj.weight differs|gate_proj.weight differs"),
        ([[1, 6]], "tied_ffn must be lists of two or more layers, each of 0 to 5"),
        ([[1, 2], [2, 3]], "each of 0 to 5 in at most one"),
        ([[1]], "tied_ffn must be lists"),
        ("12", "tied_ffn must be lists"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, "tied_ffn": windows}))
        with pytest.raises(BadInput, match=message):
            Checkpoint(folder).digest()


def test_windows_spare_as_much_as_the_layers_of_the_target():
    small = load_project("laptop", CONFIG).source_shape()
    assert [as_many_tied_layers(small, small.with_depth(d)) for d in (22, 15)] == [12, 21]
    large = LlamaShape(32, 4096, 11008, 32, 32, 128, 32000)
    assert [as_many_tied_layers(large, large.with_depth(d)) for d in (24, 16)] == [13, 25]
    assert large.ffn_parameters == 135_266_304
    assert as_many_tied_layers(small, small.with_depth(1)) == 30  # all of them


def test_recovery_keeps_the_ties(learning_world, tmp_path):
    """All weights train under the frozen operators, which tie what they fuse."""
    project = learning_world.project(steps=4)
    tied = project.run("ff-merge-75")
    assert tied.tied_ffn_layers == project.run("ff-merge-tuned-75").tied_ffn_layers > 1
    assert tied.target_shape == tied.fused_shape
    source, text = learning_world.source, learning_world.text
    build(project, "ff-merge-75", source, tmp_path / "start", text=text)
    learn(project, "ff-merge-tuned-75", source, text, tmp_path / "run", start=tmp_path / "start")
    trained = tmp_path / "run" / "trained_source"
    fuse(trained, tmp_path / "run" / "operators.safetensors", tmp_path / "model")
    small = Checkpoint(tmp_path / "model")
    (window,) = small.tied_ffn
    assert len(window) == tied.tied_ffn_layers
    assert tied.num_parameters == small.num_parameters
    small.digest()
    first = layer_tensor_name("up", window[0])
    assert not small.tensor(first).equal(Checkpoint(source).tensor(first))
