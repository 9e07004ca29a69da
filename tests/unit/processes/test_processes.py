"""Several processes that train together end as one process does, and each knows its part.

Weights that train are divided. Their gradients are those of one process bit for bit where a tensor
has one use, as in a model whose head is not its embedding. Whole runs are slow: two processes are
started once for all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learning_world import write_learning_world
from logged import logged
from own_models import save_model, write_preset
from ranks import measured, pretraining_gradients, said_of, train, train_alone, try_rates
from safetensors.torch import load_file

from lemon.errors import BadInput
from lemon.files.manifest import read_manifest
from lemon.methods.build import build
from lemon.training.processes import ALONE, Processes

pytestmark = pytest.mark.slow

PRETRAINED = "scratch-width"  # with a mixture that changes, and models that are kept on the way
REPLICATED = ("lemon-cut-75", "lemon-width-2-2")
DIVIDED = ("lemon-cut-trained-75", "cut-tuned-75", "shear-75", PRETRAINED)
UNTIED = ("cut-tuned-75", "cut-tuned-width", "shear-75", "shear-width", PRETRAINED)
NORM = "train/gradient_norm"  # its squares are summed in another order
TWO_PARTS = {"batch_sequences": 4, "microbatch_sequences": 2, "checkpoint_every": 6}
FOUR_PARTS = TWO_PARTS | {"batch_sequences": 8}


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
        f"{name} {step}": torch.tensor(value, dtype=torch.float64)
        for step, name, value in logged(out)
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


def test_fewer_gpus_than_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Processes(1, 2).device("auto") == torch.device("cuda", 1)
    assert Processes(1, 2).device("cpu") == torch.device("cpu")
    with pytest.raises(BadInput, match=r"compute\.devices is 4, but torch finds 2 GPUs"):
        Processes(1, 4).device("cuda")
