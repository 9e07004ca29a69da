"""Two processes with one microbatch each against one with two, in whole runs of every kind."""

from __future__ import annotations

import csv
import math
from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from learning_world import CONFIG
from ranks import Ranks, from_first, same, summed, summed_gradients, train, train_alone
from safetensors.torch import load_file

from lemon.configuration.load import load_project
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import read_manifest
from lemon.files.plain_text import read_text
from lemon.machine import own_rank
from lemon.training.processes import ALONE, BUCKET, Processes, _buckets

FROZEN = ("lemon-cut-75", "lemon-width-2-2")
OTHERS = ("lemon-cut-trained-75", "cut-tuned-75", "shear-75", "scratch-width")
TWO = {"batch_sequences": 4, "microbatch_sequences": 2, "checkpoint_every": 6}
FOUR = TWO | {"batch_sequences": 8}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    ranks = Ranks(2, tmp_path_factory.mktemp("two"))
    yield ranks
    ranks.close()


def events(out: Path) -> list[tuple]:
    """All events without times."""
    return [
        (event["step"], event["name"], event["value"])
        for event in read_events(out / "metrics.jsonl")
        if event["name"] != "train/tokens_per_s"
    ]


def tensors(out: Path) -> dict[str, torch.Tensor]:
    """Everything that a run ends with."""
    return {
        f"{path.relative_to(out)}/{name}": tensor
        for path in sorted(out.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def apart(first: Path, second: Path) -> float:
    """The largest difference of what two runs end with, and of their logged values."""
    ours, theirs = tensors(first), tensors(second)
    assert ours.keys() == theirs.keys() and ours
    found = [(ours[name] - theirs[name]).abs().max().item() for name in ours]
    logged, other = events(first), events(second)
    assert [event[:2] for event in logged] == [event[:2] for event in other]
    found += [
        abs(own - their) / max(1.0, abs(their))
        for (_, _, own), (_, _, their) in zip(logged, other, strict=True)
    ]
    return max(found)


@pytest.mark.slow
@pytest.mark.parametrize("run", FROZEN + OTHERS)
def test_one_microbatch_each_is_one_process_with_two(learning_world, tmp_path, two, run):
    """Losses, tune losses, mixture, constraint and operators: in the same order, the same bits."""
    alone = train_alone(learning_world, run, tmp_path / "alone", **TWO)
    two(train, learning_world, run, tmp_path / "two", **TWO)
    distance = apart(alone, tmp_path / "two")
    assert distance == 0.0 if run in FROZEN else distance < 1e-6
    assert read_manifest(tmp_path / "two" / "manifest.json")["processes"] == 2
    assert not (tmp_path / "two" / "checkpoints").exists()
