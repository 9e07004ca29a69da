"""Properties of layer similarity, on weights of any sizes; and what it promises of its memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layer_similarity import cka_off, debiased, plain, write_layers
from roundoff import FLOAT64

import lemon.progress
from lemon.checkpoint import Checkpoint
from lemon.similarity import cka, gram
from lemon.similarity.cka import cka_matrices, cka_matrix
from lemon.similarity.gram import memory_bound

pytestmark = pytest.mark.slow


def maps_of(layers: np.ndarray, type: str = "up") -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        return cka_matrices(
            write_layers(Path(folder), layers.astype(np.float32), type=type), f"{type}_proj"
        )


SIZES = st.tuples(st.integers(2, 5), st.integers(5, 90), st.integers(2, 60))
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=25)
@given(sizes=SIZES, seed=SEEDS, type=st.sampled_from(["up", "down"]))
def test_blind_to_orthogonal_maps_of_the_units_and_to_scale(sizes, seed, type):
    rng = np.random.default_rng(seed)
    layers = rng.normal(size=sizes)
    turns = np.linalg.qr(rng.normal(size=(sizes[0], sizes[2], sizes[2])))[0]
    scales = 10.0 ** rng.uniform(-3, 3, size=(sizes[0], 1, 1))
    turned = scales * layers @ turns
    before, after = maps_of(layers, type), maps_of(turned, type)
    for estimator in before:
        allowed = cka_off(layers, estimator) + cka_off(turned, estimator)
        assert (np.abs(after[estimator] - before[estimator]) <= allowed).all()


@settings(max_examples=25)
@given(sizes=SIZES, seed=SEEDS, mean=st.sampled_from([0.0, 1.0, 30.0]))
def test_symmetric_with_ones_on_the_diagonal_and_within_its_bounds(sizes, seed, mean):
    layers = mean + np.random.default_rng(seed).normal(size=sizes)
    for estimator, matrix in maps_of(layers).items():
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=4 * FLOAT64)  # v / sqrt(v)^2
        allowed = cka_off(layers, estimator)
        assert (matrix <= 1 + allowed).all()
        assert (matrix >= -allowed if estimator == "plain" else matrix >= -1 - allowed).all()


@settings(max_examples=25)
@given(sizes=SIZES, seed=SEEDS, rows=st.integers(1, 40), type=st.sampled_from(["up", "down"]))
@example(sizes=(2, 5, 31), seed=282135, rows=3, type="down")  # debiased HSIC is near 0
def test_equals_the_formula_at_any_sizes(sizes, seed, rows, type):
    layers = np.random.default_rng(seed).normal(size=sizes).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram, "SLAB_BYTES", 4 * sizes[0] * sizes[1] * rows)
        patch.setattr(gram, "PIECE_BYTES", 4 * sizes[1] * rows)
        patch.setattr(gram, "BLOCK_ROWS", (7, 7))
        maps = maps_of(layers, type)
    exact = layers.astype(float)
    for estimator, measure in (("plain", plain), ("debiased", debiased)):
        expected = [[measure(x, y) for y in exact] for x in exact]
        assert (np.abs(maps[estimator] - expected) <= cka_off(exact, estimator)).all()


def test_floor_of_independent_matrices_and_its_removal():
    n, p = 256, 384
    maps = maps_of(np.random.default_rng(0).normal(size=(4, n, p)))
    others = ~np.eye(4, dtype=bool)
    # The debiased value is a correlation over n^2 / 2 pairs, of which plain CKA has n / (p + n).
    spread = 2**0.5 / n
    np.testing.assert_allclose(maps["plain"][others], p / (p + n), atol=4 * spread * n / (p + n))
    np.testing.assert_allclose(maps["debiased"][others], 0, atol=4 * spread)


@pytest.mark.parametrize("format", ["F32", "BF16", "F16"])
def test_shards_make_no_difference(tmp_path, format):
    layers = np.random.default_rng(1).normal(size=(3, 24, 16)).astype(np.float32)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = write_layers(tmp_path / "whole", layers, format=format)
    parts = write_layers(tmp_path / "parts", layers, shards=3, format=format)
    np.testing.assert_array_equal(cka_matrix(parts, "up_proj"), cka_matrix(whole, "up_proj"))


@pytest.fixture
def source_of_three(tmp_path) -> Checkpoint:
    return write_layers(tmp_path, np.random.default_rng(1).normal(size=(3, 24, 16)))


def test_every_entry_on_or_right_of_the_diagonal_is_in_one_slab(source_of_three, monkeypatch):
    monkeypatch.setattr(gram, "SLAB_BYTES", 4 * 3 * 24 * 7)
    monkeypatch.setattr(gram, "BLOCK_ROWS", (5, 5))
    plan = gram.gram_plan(source_of_three, "up")
    rows = [row for slab in plan.slabs for block in slab.blocks for row in range(*block)]
    assert rows == list(range(24))
    assert all(4 * 3 * slab.entries <= 4 * 3 * 24 * 7 for slab in plan.slabs)
    # Blocks of rows 0-4, 5-9, ..., 20-23 times the columns from their first on.
    assert sum(slab.entries for slab in plan.slabs) == 5 * (24 + 19 + 14 + 9) + 4 * 4
    assert plan.flop == 3 * 2 * (16 + 3) * (5 * 66 + 16)


def test_the_plan_of_llama_7b_stays_within_its_memory():
    """n = p = 4096, L = 32: 16 blocks of 256 rows, in float32 1.14 GB, so two slabs."""
    slabs = gram._slabs(4096, 32)
    assert len(slabs) == 2
    assert sum(slab.entries for slab in slabs) == 256 * 256 * (16 * 17 // 2)
    assert max(4 * 32 * slab.entries for slab in slabs) <= gram.SLAB_BYTES


WRITE_CKA = (
    "import sys; from pathlib import Path; from lemon.similarity import cka, gram; "
    "gram.SLAB_BYTES = int(sys.argv[4]); "
    "cka.write_cka(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])); "
    "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
    "print(int(status['VmHWM'].split()[0]) * 1024)"
)


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(),
    reason="the peak is read from /proc, which only Linux has",
)
@pytest.mark.parametrize("component", ["up_proj", "down_proj"])
def test_memory_stays_under_the_bound_that_is_announced(tmp_path, component):
    """More weights (134 MB in bfloat16), and more Gram entries, than may be in memory at once."""
    num_layers, width, units, slab_bytes = 32, 1024, 2048, 40 << 20
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0)).numpy()
    layers = np.broadcast_to(np.resize(noise, (width, units)), (num_layers, width, units))
    type = component.removesuffix("_proj")
    source = write_layers(tmp_path, layers, type=type, shards=2, format="BF16")
    command = [sys.executable, "-c", WRITE_CKA, source.path, component, tmp_path / "o.csv"]
    done = subprocess.run(
        [*map(str, command), str(slab_bytes)], capture_output=True, text=True, check=True
    )
    first, *_, last = done.stderr.splitlines()
    assert re.match(rf"cka {component}: 32 layers of {type}, .* weights read in 3 passes", first)
    assert re.match(rf"cka {component}: [\d.]+ s, [\d.]+ GFLOP/s", last)
    bound = int(re.search(r"at most (\d+) MB of memory", first)[1]) * 1e6
    peak = int(done.stdout)
    assert peak < bound
    assert bound < peak + gram.ALLOWANCE_BYTES + 20e6  # and it is no idle one


def test_the_bound_counts_what_is_held(source_of_three):
    plan = gram.gram_plan(source_of_three, "down")
    # Gram entries of 3 layers, a stored matrix, its float32 copy.
    assert plan.held_bytes == 4 * (3 * 24 * 24 + 24 * 16 + 24 * 16)
    assert memory_bound([plan]) > plan.held_bytes


def test_progress_is_told_when_it_is_time(source_of_three, monkeypatch, capsys):
    monkeypatch.setattr(lemon.progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(cka, "MEGA", 1)
    cka_matrix(source_of_three, "up_proj")
    first, *lines, last = capsys.readouterr().err.splitlines()
    assert first.startswith("cka up_proj: 3 layers of up, 6.57e-05 GFLOP, weights read in 1 pass (")
    assert [line.split(",")[0] for line in lines] == [
        "cka up_proj: MFLOP 21888/65664",
        "cka up_proj: MFLOP 43776/65664",
        "cka up_proj: MFLOP 65664/65664",
    ]
    assert all(re.search(r", \S+ GFLOP/s, 0:00 left, peak memory \S+ GiB$", x) for x in lines)
    assert re.match(r"cka up_proj: 0.\d s, \S+ GFLOP/s, peak memory \d+ MB$", last)
