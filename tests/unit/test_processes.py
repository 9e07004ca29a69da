"""Several processes that train together end as one process does, and each knows its part.

Weights that train are divided. Their gradients are those of one process bit for bit where a tensor
has one use, as in a model whose head is not its embedding. Whole runs are slow: two processes are
started once for all of them.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest
import torch
from learning_world import CONFIG, LearningWorld, write_learning_world
from own_models import save_model, write_preset
from ranks import (
    Ranks,
    differentiated,
    divided,
    first_and_own,
    measured,
    pretraining_gradients,
    said_of,
    summed,
    summed_gradients,
    train,
    train_alone,
    try_rates,
)
from safetensors.torch import load_file

from lemon.cli import main
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import read_manifest
from lemon.machine import own_rank
from lemon.methods.build import build
from lemon.training.processes import ALONE, BUCKET, Processes, _buckets

pytestmark = pytest.mark.slow

PRETRAINED = "scratch-width"  # with a mixture that changes, and models that are kept on the way
REPLICATED = ("lemon-cut-75", "lemon-width-2-2")
DIVIDED = ("lemon-cut-trained-75", "cut-tuned-75", "shear-75", PRETRAINED)
UNTIED = ("cut-tuned-75", "cut-tuned-width", "shear-75", "shear-width", PRETRAINED)
NORM = "train/gradient_norm"  # its squares are summed in another order
TWO_PARTS = {"batch_sequences": 4, "microbatch_sequences": 2, "checkpoint_every": 6}
FOUR_PARTS = TWO_PARTS | {"batch_sequences": 8}


def started(count: int, factory: pytest.TempPathFactory):
    ranks = Ranks(count, factory.mktemp("ranks"))
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    yield from started(2, tmp_path_factory)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    yield from started(4, tmp_path_factory)


@pytest.fixture(scope="module")
def untied_world(tmp_path_factory):
    """The smoke preset on a model with a head of its own."""
    folder = tmp_path_factory.mktemp("untied")
    model = save_model(folder / "given", "llama-3")
    return write_learning_world(folder, write_preset(folder / "untied.yaml", model))


def ends(out: Path) -> dict[str, torch.Tensor]:
    """All tensors that a run leaves, and its logged values but times, by name and step."""
    found = {
        f"{path.relative_to(out)}/{name}": tensor
        for path in sorted(out.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    assert found and not (out / "checkpoints").exists()
    return found | {
        f"{event['name']} {event['step']}": torch.tensor(event["value"], dtype=torch.float64)
        for event in read_events(out / "metrics.jsonl")
        if event["name"] != "train/tokens_per_s"
    }


def apart(first: Path, second: Path, *, without: str | None = None) -> float:
    """The largest difference between the ends of two runs; relative for values above 1.

    Of logged values all are compared but those of the name `without`.
    """
    ours, theirs = ends(first), ends(second)
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if name.split()[0] != without]
    differences = [(ours[n] - theirs[n]).abs() / theirs[n].abs().clamp(min=1) for n in names]
    return max(difference.max().item() for difference in differences)


@pytest.mark.parametrize("run", REPLICATED)
def test_one_microbatch_each_is_one_process_with_two(learning_world, tmp_path, two, run):
    """Bit for bit: losses, tune losses, mixture, constraint, operators and weights."""
    alone = train_alone(learning_world, run, tmp_path / "alone", **TWO_PARTS)
    two(train, learning_world, run, tmp_path / "two", **TWO_PARTS)
    assert apart(alone, tmp_path / "two") == 0.0
    assert "processes" not in read_manifest(alone / "manifest.json")
    assert read_manifest(tmp_path / "two" / "manifest.json")["processes"] == 2


@pytest.mark.parametrize("run", DIVIDED)
def test_weights_that_are_divided_train_as_those_of_one_process(learning_world, tmp_path, two, run):
    alone = train_alone(learning_world, run, tmp_path / "alone", **TWO_PARTS)
    two(train, learning_world, run, tmp_path / "two", **TWO_PARTS)
    assert apart(alone, tmp_path / "two", without=NORM) < 1e-6
    assert apart(alone, tmp_path / "two") < 1e-5


@pytest.mark.parametrize("run", UNTIED)
def test_divided_weights_are_those_of_one_process_bit_for_bit(untied_world, tmp_path, two, run):
    """With one microbatch each, and where no gradient is clipped by the norm of all."""
    given = TWO_PARTS | {"max_gradient_norm": 1e6}
    alone = train_alone(untied_world, run, tmp_path / "alone", **given)
    two(train, untied_world, run, tmp_path / "two", **given)
    assert apart(alone, tmp_path / "two", without=NORM) == 0.0


@pytest.mark.parametrize(
    ("run", "count"),
    [(run, 2) for run in (*DIVIDED, "lemon-cut-trained-50")] + [("lemon-cut-trained-75", 4)],
)
def test_what_a_step_gathers_and_what_a_process_holds(
    request, learning_world, tmp_path, run, count
):
    """Layers are gathered twice, since they are recomputed: those of the target, and of a source
    with masks all. A number in a share takes 16 bytes: weight, gradient and two moments; 4 in a
    layer that a selection drops.
    """
    ranks = request.getfixturevalue({2: "two", 4: "four"}[count])
    project = learning_world.project()
    target = project.run(run).target_shape
    source = target if project.run(run).method.pretrains else project.source_shape()
    layers = (source if run == "shear-75" else target).num_hidden_layers
    trained = (target if run == "cut-tuned-75" else source).num_parameters
    embedding = source.vocab_size * source.hidden_size
    rest = source.with_depth(layers).parameters_without_vocabulary
    gathered = 4 * (2 * (rest + embedding) - source.hidden_size)  # the last norm once
    given = {"batch_sequences": 2 * count, "microbatch_sequences": 2}
    for found, at_once, held in ranks(measured, learning_world, run, tmp_path, **given):
        assert found == gathered
        layer = source.ffn_parameters
        # Of one layer, not of two, or the head with the gain before it.
        head = embedding + source.hidden_size if source is target else 0
        assert 4 * layer < at_once <= 4 * max(head, 2 * layer)
        assert held == (4 * source.num_parameters + 12 * trained) / count


def test_a_model_that_is_made_first_is_read_by_all(learning_world, tmp_path, two):
    """The model of a start is fused, and trained with its teacher's states."""
    start, run = tmp_path / "come", "come-hierarchical-75"
    build(
        learning_world.project(), "come-75", learning_world.source, start, None, learning_world.text
    )
    given = {"start": start, "steps": 4, **TWO_PARTS}
    alone = train_alone(learning_world, run, tmp_path / "alone", **given)
    two(train, learning_world, run, tmp_path / "two", **given)
    assert apart(alone, tmp_path / "two", without=NORM) < 1e-6


@pytest.mark.parametrize("family", ["llama-3", "qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_plain_model_in_shares_has_the_gradients_of_the_whole_one(tmp_path, two, family, dtype):
    """Bit for bit, biases and norms of heads included; the sum over processes is in float32."""
    folder = save_model(tmp_path / family, family, tie_word_embeddings=False)
    expected = pretraining_gradients(ALONE, folder, dtype)
    found, _ = two(pretraining_gradients, folder, dtype)
    assert found.keys() == expected.keys() and "lm_head.weight" in found
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("run", ["lemon-cut-75", "lemon-cut-trained-75", "shear-75", PRETRAINED])
def test_a_run_goes_on_in_any_number_of_processes(learning_world, tmp_path, two, four, run):
    """Stopped after a checkpoint and gone on from it, with two microbatches each in two."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    two(train, learning_world, run, whole, **FOUR_PARTS)
    two(train, learning_world, run, again, stop=7, **FOUR_PARTS)
    assert not (again / "manifest.json").exists()
    two(train, learning_world, run, again, **FOUR_PARTS)
    assert apart(whole, again) == 0.0

    alone, begun = tmp_path / "alone", tmp_path / "begun"
    two(train, learning_world, run, alone, stop=7, **FOUR_PARTS)
    train_alone(learning_world, run, alone, **FOUR_PARTS)
    assert apart(whole, alone, without=NORM) < 1e-6

    train_alone(learning_world, run, begun, stop=7, **FOUR_PARTS)
    four(train, learning_world, run, begun, **FOUR_PARTS)
    assert apart(whole, begun, without=NORM) < 1e-6


def test_a_finished_run_is_known_to_all_processes(learning_world, tmp_path, two, monkeypatch):
    out, run = tmp_path / "run", "lemon-cut-75"
    two(train, learning_world, run, out, steps=2, **TWO_PARTS)
    before = (out / "metrics.jsonl").read_bytes()
    two(train, learning_world, run, out, steps=2, stop=0, **TWO_PARTS)  # it takes no step
    assert (out / "metrics.jsonl").read_bytes() == before
    assert (out / "manifest.json").exists()


def test_a_trial_is_tried_by_all_processes(learning_world, tmp_path, two):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    try_rates(ALONE, learning_world, alone, **TWO_PARTS)
    two(try_rates, learning_world, shared, **TWO_PARTS)
    one, both = (read_manifest(folder / "manifest.json") for folder in (alone, shared))
    assert one["tune_loss"] == both["tune_loss"]
    assert {path.name for path in shared.iterdir()} == {"manifest.json", "metrics.jsonl"}
    before = both["finished"], (shared / "metrics.jsonl").read_bytes()
    two(try_rates, learning_world, shared, **TWO_PARTS)  # it is done
    again = read_manifest(shared / "manifest.json")
    assert (again["finished"], (shared / "metrics.jsonl").read_bytes()) == before


def test_each_process_keeps_the_teachers_states_of_its_own_rows(learning_world, tmp_path, two):
    cache, run = tmp_path / "cache", "lemon-cut-75"
    for name, kept in (("without", None), ("first", cache), ("second", cache)):
        two(train, learning_world, run, tmp_path / name, steps=3, cache=kept, **TWO_PARTS)
    assert apart(tmp_path / "without", tmp_path / "first") == 0.0
    assert apart(tmp_path / "without", tmp_path / "second") == 0.0
    assert len(list(cache.glob("*/*"))) == 3 * 2


@pytest.mark.parametrize("run", ["lemon-cut-75", "cut-tuned-75"])
def test_divergence_stops_all_processes(learning_world, tmp_path, two, run):
    rates = dict.fromkeys(("layer_rate", "norm_rate", "weight_rate"), 1000.0)
    rates["warmup_ratio"] = 0.9
    arguments = (train, learning_world, run, tmp_path / "run")
    said = two(said_of, *arguments, steps=40, **(TWO_PARTS | rates))
    assert "diverged at step" in said[0] and said[0] == said[1]


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


def test_fewer_gpus_than_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Processes(1, 2).device("auto") == torch.device("cuda", 1)
    assert Processes(1, 2).device("cpu") == torch.device("cpu")
    with pytest.raises(BadInput, match=r"compute\.devices is 4, but torch finds 2 GPUs"):
        Processes(1, 4).device("cuda")
