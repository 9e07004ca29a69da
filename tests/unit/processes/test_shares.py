"""Sums, shares, and what one makes for all: what processes send that train together."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest
import torch
from learning_world import CONFIG, LearningWorld
from ranks import differentiated, divided, first_and_own, said_of, summed, summed_gradients

from lemon.cli import main
from lemon.errors import BadInput
from lemon.machine import own_rank
from lemon.training.processes import BUCKET, Processes, _buckets

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (5, 7)])
def test_sums_are_in_the_order_of_the_ranks(four, shape):
    draw = torch.Generator().manual_seed(len(shape))
    parts = [torch.randn(shape, generator=draw) * 10.0**rank for rank in range(4)]
    expected = reduce(torch.add, parts)
    assert all(torch.equal(total, expected) for total in four(summed, parts))


def test_gradients_that_one_process_lacks(two):
    """Those that both lack stay away, so that the optimiser does not move their parameters."""
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([[4.0]])
    for sums in two(summed_gradients, [[a, None, None, b], [a, b, None, None]]):
        assert sums[2] is None
        assert torch.equal(sums[0], 2 * a) and torch.equal(sums[1], b) and torch.equal(sums[3], b)


@pytest.mark.parametrize(
    ("shape", "whole_shape", "share"),
    [((8,), (8,), (2,)), ((3, 3), (3, 3), (3,)), ((2,), (2,), (1,)), ((5, 2, 7), (2, 7), (5, 4))],
)
def test_shares_are_gathered_as_they_were_divided(four, shape, whole_shape, share):
    """Also where the numbers do not divide, or are fewer than processes; a stack layer by layer."""
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = four(divided, whole, whole_shape)
    assert [held for held, _ in found] == [share] * 4
    assert torch.equal(found[0][1], whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limit", [1.0, 1e6])
def test_gradients_of_shares_are_sums_and_clipped_by_the_norm_of_all(four, dtype, limit):
    """Gradients in bfloat16 are added up in float32."""
    draw = torch.Generator().manual_seed(2)
    whole = torch.randn(3, 3, generator=draw)
    factors = [(torch.randn(3, 3, generator=draw) * 3.0**rank).to(dtype) for rank in range(4)]
    total = reduce(torch.add, [factor.float() for factor in factors])
    expected = (total.square().sum() + 4).sqrt()
    for norm, gradient in four(differentiated, whole, factors, limit):
        assert norm == pytest.approx(expected.item(), rel=1e-6)
        assert torch.allclose(gradient, total * min(1.0, limit / norm), rtol=1e-5)
        assert limit == 1.0 or torch.equal(gradient, total)


def test_parameters_that_differ_are_refused(two):
    assert two(said_of, Processes.require_same, [torch.ones(3)]) == ["", ""]
    for said in two(said_of, Processes.require_same, [torch.ones(3)], differ=True):
        assert "hold different parameters" in said


def test_what_the_first_process_makes_and_what_each_makes(two):
    assert two(first_and_own) == [(0, 0), (0, 1)]


def test_buckets_keep_the_order_and_their_size():
    sizes = [1, BUCKET, 2, 3, BUCKET - 4, BUCKET + 1, 7]
    buckets = list(_buckets([torch.empty(size, device="meta") for size in sizes]))
    assert [[part.numel() for part in bucket] for bucket in buckets] == [
        *([1], [BUCKET], [2, 3], [BUCKET - 4], [BUCKET + 1], [7])
    ]
    assert list(_buckets([])) == []


@pytest.mark.parametrize(
    ("environment", "devices", "rank"),
    [
        ({}, 1, 0),
        ({"WORLD_SIZE": "2", "RANK": "1"}, 2, 1),
        ({"WORLD_SIZE": "1", "RANK": "0"}, 1, 0),
    ],
)
def test_the_rank_is_torchruns(monkeypatch, environment, devices, rank):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert own_rank(devices) == rank
    with pytest.raises(BadInput, match=f"compute.devices of the preset is {devices + 1}"):
        own_rank(devices + 1)


def test_a_command_that_is_alone_names_how_it_is_started(
    learning_world: LearningWorld, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    preset = tmp_path / "pair.yaml"
    preset.write_text(
        "base: smoke\ndescription: two processes\n"
        "compute: {devices: 2, device: cpu, dtype: float32}\n"
    )
    words = ["--source", learning_world.source, "--text", learning_world.text]
    words += ["--preset", preset, "--run", "lemon-cut-75", "--out", tmp_path / "out"]
    assert main(["--config", str(CONFIG), "learn", *map(str, words)]) == 2
    assert "--nproc-per-node 2 --no-python -- lemon" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
