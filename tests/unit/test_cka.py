"""Layer similarity against the formula written down, and its known properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from layer_similarity import cka_off, debiased, plain
from models import GROUPED_TIED, write_tiny_model
from roundoff import FLOAT64
from safetensors.torch import load_file, save_file

from lemon.architecture import layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.similarity import gram
from lemon.similarity.cka import COMPONENTS, cka_matrices, cka_matrix, write_cka


@pytest.fixture(scope="module")
def source(tiny_model_folder) -> Checkpoint:
    return Checkpoint(tiny_model_folder)


def representations(source: Checkpoint, type: str) -> list[np.ndarray]:
    """[residual coordinate, unit] of each layer."""
    stack = [
        source.tensor(layer_tensor_name(type, j)).double().numpy()
        for j in range(source.shape.num_hidden_layers)
    ]
    return stack if type in ("o", "down") else [weight.T for weight in stack]


def test_by_hand_on_two_points():
    """One unit a layer over two coordinates: centred they are parallel, so the value is 1."""
    assert plain(np.array([[1.0], [3.0]]), np.array([[5.0], [-7.0]])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("slab_bytes", "piece_bytes"),  # all Gram rows and units at once; ten of either; two slabs
    [(1 << 28, 1 << 28), (4 * 5 * 72 * 10, 4 * 72 * 10), (4 * 5 * 72 * 40, 1 << 28)],
)
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize(("is_debiased", "measure"), [(False, plain), (True, debiased)])
def test_equals_the_formula(
    source, monkeypatch, slab_bytes, piece_bytes, component, is_debiased, measure
):
    monkeypatch.setattr(gram, "SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(gram, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(gram, "BLOCK_ROWS", (16, 16))
    maps, allowed = [], []
    for type in COMPONENTS[component]:
        layers = representations(source, type)
        maps.append([[measure(x, y) for y in layers] for x in layers])
        allowed.append(cka_off(layers, "debiased" if is_debiased else "plain"))
    computed = cka_matrix(source, component, debiased=is_debiased)
    assert (np.abs(computed - np.mean(maps, axis=0)) <= np.mean(allowed, axis=0)).all()
    np.testing.assert_array_equal(computed, computed.T)
    np.testing.assert_allclose(np.diag(computed), 1.0, rtol=8 * FLOAT64)


def test_blind_to_order_sign_and_scale_of_units_but_not_of_coordinates(tmp_path):
    folder = write_tiny_model(tmp_path, **GROUPED_TIED)
    weights = load_file(folder / "model.safetensors")
    up = [layer_tensor_name("up", j) for j in range(5)]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    weights[up[1]] = -3.0 * weights[up[0]][order]
    weights[up[2]] = weights[up[0]].roll(1, dims=1).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    source = Checkpoint(folder)
    matrix = cka_matrix(source, "up_proj")
    layers = representations(source, "up")[:2]
    assert abs(matrix[0, 1] - 1) <= cka_off(layers, "plain")[0, 1]
    assert matrix[0, 2] < 0.9


def test_random_matrices_have_a_floor_that_debiasing_removes(source):
    """Plain CKA of independent n x p matrices is near p / (p + n): here n = 72, p = 64.

    Over ten pairs of layers the mean of the debiased one is off by sqrt(2) / n / sqrt(10) = 0.006.
    """
    others = ~np.eye(5, dtype=bool)
    assert cka_matrix(source, "up_proj")[others].mean() == pytest.approx(64 / 136, abs=0.03)
    assert abs(cka_matrix(source, "up_proj", debiased=True)[others].mean()) < 0.03


def test_both_estimators_come_from_one_call(source):
    maps = cka_matrices(source, "ffn")
    np.testing.assert_array_equal(maps["plain"], cka_matrix(source, "ffn"))
    np.testing.assert_array_equal(maps["debiased"], cka_matrix(source, "ffn", debiased=True))


def test_csv_has_layer_indices_as_header_and_index(source, tmp_path):
    import pandas

    out = tmp_path / "maps" / "mha.csv"
    write_cka(source.path, "mha", out)
    table = pandas.read_csv(out, index_col=0)
    assert list(table.columns) == ["0", "1", "2", "3", "4"]
    assert list(table.index) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(table.to_numpy(), cka_matrix(source, "mha"), atol=1e-8)


def test_a_constant_matrix_has_no_similarity(tmp_path):
    folder = write_tiny_model(tmp_path, **GROUPED_TIED)
    weights = load_file(folder / "model.safetensors")
    weights[layer_tensor_name("k", 3)].fill_(0.5)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"layers.3.self_attn.k_proj.*not defined"):
        cka_matrix(Checkpoint(folder), "k_proj")


def test_a_constant_that_float32_cannot_sum_is_seen_as_constant(tmp_path):
    folder = write_tiny_model(tmp_path, **GROUPED_TIED)
    weights = load_file(folder / "model.safetensors")
    weights[layer_tensor_name("down", 1)].fill_(0.1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"layers.1.mlp.down_proj.*not defined"):
        cka_matrices(Checkpoint(folder), "ffn")
