"""Hierarchical distillation: its loss by hand from transformers' models, and a run of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import AutoModelForCausalLM

from lemon.architecture import LAYER_TYPES
from lemon.checkpoint import Checkpoint
from lemon.configuration.stages import stage_params
from lemon.errors import BadInput
from lemon.learning.assembly import assemble
from lemon.learning.hierarchical import last_layers, state_loss
from lemon.learning.run import learn
from lemon.methods import cut
from lemon.methods.build import build
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.operators.file import load_operators
from lemon.operators.fuse import fuse

RUN, OPERATORS = "come-hierarchical-75", "operators.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def start(learning_world, tmp_path_factory) -> Path:
    """CoMe's run, and the model that it makes in `model`."""
    folder, source = tmp_path_factory.mktemp("start"), learning_world.source
    build(learning_world.project(), "come-75", source, folder, text=learning_world.text)
    fuse(source, folder / OPERATORS, folder / "model")
    return folder


def states_of(folder: Path, inputs: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Each layer's output in transformers, before the final norm, and the log-probabilities."""
    model, found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, __, output: found.append(output.double()))
    with torch.no_grad():
        logits = model(inputs).logits
    return found, log_softmax(logits.double(), -1).flatten(0, 1)


def test_a_layer_stands_for_its_last_source_layer(learning_world, start):
    source = Checkpoint(learning_world.source)
    operators, _ = load_operators(start / OPERATORS)
    leaves = [row.nonzero().flatten().tolist() for row in operators.gamma["ln1"].dense()]
    assert [leaf for row in leaves for leaf in row] == list(range(6))
    assert last_layers(operators) == [row[-1] for row in leaves]
    assert last_layers(cut.build(BuildContext(source, source.shape.with_depth(4)))) == [0, 1, 2, 3]
    assert last_layers(Operators(source.shape, source.shape)) == [0, 1, 2, 3, 4, 5]
    gamma = {type: Dense(torch.eye(4, 6)) for type in LAYER_TYPES}
    gamma["o"] = Dense(torch.eye(4, 6) - torch.eye(4, 6).roll(1, dims=1))
    mixed = Operators(source.shape, source.shape.with_depth(4), gamma=gamma)
    assert last_layers(mixed) == [1, 2, 3, 4]


def test_last_source_layers_must_increase(learning_world):
    shape = Checkpoint(learning_world.source).shape
    dense = {type: Dense(torch.ones(4, 6)) for type in LAYER_TYPES}
    with pytest.raises(BadInput, match="layers 0 and 1 the last source layers 5 and 5, which must"):
        last_layers(Operators(shape, shape.with_depth(4), gamma=dense))


def test_the_weight_of_the_lm_loss_is_no_setting_of_it(learning_world):
    """Its objective has no such term, so another weight changes nothing."""
    one, other = (learning_world.project(lm_weight=weight) for weight in (0.25, 0.75))
    assert stage_params(one, "learn", RUN) == stage_params(other, "learn", RUN)
    assert stage_params(one, "learn", "cut-tuned-75") != stage_params(
        other, "learn", "cut-tuned-75"
    )


@pytest.mark.parametrize(("step", "with_predictions"), [(0, False), (4, False), (5, True)])
def test_the_loss_is_that_of_the_formula(learning_world, start, step, with_predictions):
    project = learning_world.project(steps=10, loss_chunk_tokens=7, layers_per_segment=3)
    operators, _ = load_operators(start / OPERATORS)
    merged, source = Checkpoint(start / "model"), Checkpoint(learning_world.source)
    whole = Operators(merged.shape, merged.shape)
    trainee = assemble(
        *(project.run(RUN), project.preset, merged, CPU, whole),
        teacher=source,
        stands_for=last_layers(operators),
    )
    tokens = torch.randint(500, (2, 9), generator=torch.Generator().manual_seed(3))
    ours, log_p = states_of(merged.path, tokens[:, :-1])
    theirs, log_q = states_of(source.path, tokens[:, :-1])
    states = 0.0
    for hidden, layer in zip(ours, last_layers(operators), strict=True):
        states += float(((hidden - theirs[layer]) ** 2).mean() / (theirs[layer] ** 2).mean())
    kl = kl_div(log_p, log_q, log_target=True, reduction="batchmean").item()
    lm = cross_entropy(log_p, tokens[:, 1:].flatten()).item()
    found = trainee.losses(tokens, step, 0)
    assert list(found) == ["loss", "lm_loss", "kl", "states"]
    expected = [states + kl, lm, kl, states]
    assert [value.item() for value in found.values()] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    found["loss"].backward()
    (group,) = trainee.groups
    assert all(parameter.grad is not None for parameter in group.parameters.values())
    # The last norm is behind all hidden states, and only predictions reach it.
    assert bool(group.parameters["weight.final_norm"].grad.any()) == with_predictions


def test_the_loss_of_states_is_relative():
    target = torch.tensor([[[3.0, 4.0]]])
    assert state_loss(target, target).item() == 0
    assert state_loss(torch.zeros(1, 1, 2), target).item() == 1
    assert state_loss(15 * target.bfloat16(), 10 * target).item() == pytest.approx(0.25)


def test_a_later_merge_is_taught_by_the_model_before_it(learning_world, tmp_path, monkeypatch):
    """Its layers are counted in that model, not in the source."""
    project = learning_world.project(steps=2)
    text, seen = learning_world.text, []

    def assembled(*arguments, **others):
        seen.append((arguments[5].path, arguments[7]))
        return assemble(*arguments, **others)

    monkeypatch.setattr("lemon.learning.run.assemble", assembled)
    source, before = learning_world.source, []
    for run in ("come-mp-93", "come-mp-83"):
        planned = project.run(run)
        assert not planned.taught_by_source
        build(project, planned.start.id, source, tmp_path / planned.start.id, text=text)
        learn(project, run, source, text, tmp_path / run, tmp_path / planned.start.id)
        before.append(source)
        source = tmp_path / run / "model"
        fuse(tmp_path / run / "trained_source", tmp_path / run / OPERATORS, source)
    assert [path for path, _ in seen] == before
    depths = [Checkpoint(path).shape.num_hidden_layers for path in (*before, source)]
    assert depths[0] > depths[1] >= depths[2]
    for (_, stands_for), above, below in zip(seen, depths, depths[1:], strict=False):
        assert len(stands_for) == below and stands_for[-1] == above - 1


def test_a_run_trains_the_merged_model(learning_world, start, tmp_path):
    project = learning_world.project(steps=4)
    source, text = learning_world.source, learning_world.text
    learn(project, RUN, source, text, tmp_path / "run", start, teacher_cache=tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()  # it would keep the last states alone
    own = Checkpoint(tmp_path / "run" / "trained_source")
    operators, metadata = load_operators(tmp_path / "run" / OPERATORS)
    assert [*operators.named_factors()] == [] and metadata.method == "hierarchical"
    assert own.shape == operators.target == project.run(RUN).target_shape
    fuse(own.path, tmp_path / "run" / OPERATORS, tmp_path / "model")
    trained, merged = Checkpoint(tmp_path / "model"), Checkpoint(start / "model")
    for name in merged.specs:
        assert trained.tensor(name).equal(own.tensor(name))
        assert not trained.tensor(name).equal(merged.tensor(name)), name
    begun = Checkpoint(tmp_path / "run" / "fused_source")
    assert all(begun.tensor(name).equal(merged.tensor(name)) for name in merged.specs)
