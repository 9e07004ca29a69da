"""A whole learning run on the smoke preset's model: what it writes, and what it can be read as."""

import json

import pytest
import torch
from logged import values_of
from replanned import replanned
from roundoff import logits_off
from transformers import AutoModelForCausalLM

from lemon.architecture import LAYER_TYPES, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.events import Metrics, read_events
from lemon.learning.assembly import assemble
from lemon.learning.fusion import DepthFusion
from lemon.learning.run import learn
from lemon.methods import average
from lemon.methods.build import build, start_operators
from lemon.methods.context import BuildContext
from lemon.operators.file import load_operators
from lemon.operators.fuse import fuse

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def learned(learning_world, tmp_path_factory):
    out = tmp_path_factory.mktemp("learned") / "lemon-cut-75"
    project = learning_world.project(steps=30, layer_rate=0.02)
    learn(project, "lemon-cut-75", learning_world.source, learning_world.text, out)
    return project, out


def test_learning_lowers_the_training_loss_and_the_heldout_perplexity(learned):
    _, out = learned
    loss = values_of(out, "train/loss")
    assert len(loss) == 30
    assert sum(loss[-5:]) < sum(loss[:5])
    perplexity = values_of(out, "tune/perplexity")
    assert perplexity[-1] < perplexity[0]


def test_a_run_leaves_operators_config_metrics_and_manifest_and_no_checkpoints(learned):
    _, out = learned
    assert {path.name for path in out.iterdir()} == {
        "operators.safetensors",
        "config.yaml",
        "metrics.jsonl",
        "manifest.json",
    }
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["steps"] == 30
    operators, _ = load_operators(out / "operators.safetensors")
    cut = torch.eye(4, 6)
    for type in LAYER_TYPES:
        assert operators.gamma[type].dense().dtype == torch.float32
        assert not torch.equal(operators.gamma[type].dense(), cut)
        # Entries that Cut sets to zero have learned as well.
        assert operators.gamma[type].dense()[:, 4:].abs().min() > 0


def test_the_exported_model_computes_what_the_student_computed(learned, learning_world, tmp_path):
    project, out = learned
    fuse(learning_world.source, out / "operators.safetensors", tmp_path / "model")
    source = Checkpoint(learning_world.source)
    start = start_operators(project.run("lemon-cut-75"), source)
    student = assemble(project.run("lemon-cut-75"), project.preset, source, CPU, start).student
    operators, _ = load_operators(out / "operators.safetensors")
    student.fusion = DepthFusion(operators, CPU)
    tokens = torch.arange(40).view(2, 20)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():
        logits = student(tokens) @ student.head_weight().T
        expected = model(tokens).logits
    allowed = 2 * logits_off(model, tokens)  # the student fuses the weights in other sums
    torch.testing.assert_close(logits, expected, atol=allowed, rtol=0)


def test_weights_that_learn_are_exported_beside_the_operators(learning_world, tmp_path):
    project = learning_world.project(steps=6)
    out = tmp_path / "run"
    learn(project, "lemon-cut-trained-75", learning_world.source, learning_world.text, out)
    before, after = Checkpoint(learning_world.source), Checkpoint(out / "trained_source")
    for name in before.specs:
        assert not torch.equal(before.tensor(name), after.tensor(name)), name
    fuse(out / "trained_source", out / "operators.safetensors", tmp_path / "model")
    with pytest.raises(BadInput, match="made for a source model"):
        fuse(learning_world.source, out / "operators.safetensors", tmp_path / "wrong")


def test_tuning_changes_the_kept_layers_alone(learning_world, tmp_path):
    project = learning_world.project(steps=4)
    out = tmp_path / "run"
    learn(project, "cut-tuned-75", learning_world.source, learning_world.text, out)
    operators, _ = load_operators(out / "operators.safetensors")
    assert all(torch.equal(gamma.dense(), torch.eye(4, 6)) for gamma in operators.gamma.values())
    before, after = Checkpoint(learning_world.source), Checkpoint(out / "trained_source")
    for name, spec in before.specs.items():
        same = torch.equal(before.tensor(name), after.tensor(name))
        assert same == (spec.layer in (4, 5)), name


def test_all_weights_of_the_model_of_an_earlier_run_are_trained(learning_world, tmp_path):
    """Such as that of Avg, whose operators mix layers."""
    project = learning_world.project(steps=4)
    build(project, "average-75", learning_world.source, tmp_path / "average")
    fused = tmp_path / "average" / "model"
    fuse(learning_world.source, tmp_path / "average" / "operators.safetensors", fused)
    row = project.run("cut-tuned-75").row.model_copy(update={"source": "average-75"})
    project, out = replanned(project, row), tmp_path / "run"
    taught_by = {"teacher": learning_world.source}
    learn(project, "cut-tuned-75", fused, learning_world.text, out, **taught_by)
    before, after = Checkpoint(fused), Checkpoint(out / "trained_source")
    assert before.shape == after.shape == project.run("cut-tuned-75").target_shape
    assert not any(torch.equal(before.tensor(name), after.tensor(name)) for name in before.specs)
    fuse(out / "trained_source", out / "operators.safetensors", tmp_path / "model")
    model = Checkpoint(tmp_path / "model")
    assert all(torch.equal(model.tensor(name), after.tensor(name)) for name in after.specs)


def test_weights_train_under_a_gamma_that_mixes_layers_and_stays(learning_world, tmp_path):
    project = learning_world.project(steps=4)
    row = project.run("cut-tuned-75").row.model_copy(update={"start": "average"})
    project = replanned(project, row)
    learn(project, "cut-tuned-75", learning_world.source, learning_world.text, tmp_path)
    source = Checkpoint(learning_world.source)
    operators, _ = load_operators(tmp_path / "operators.safetensors")
    target = source.shape.with_depth(operators.target.num_hidden_layers)
    expected = average.build(BuildContext(source, target)).gamma["q"].dense()
    assert all(gamma.dense().equal(expected) for gamma in operators.gamma.values())
    trained = Checkpoint(tmp_path / "trained_source")
    names = [layer_tensor_name("up", layer) for layer in range(6)]
    assert all(not trained.tensor(name).equal(source.tensor(name)) for name in names)


def test_norms_learn_at_a_rate_of_their_own(learning_world, tmp_path):
    """The first step of Adam moves an entry by its rate, or less where its gradient is tiny."""
    project = learning_world.project(steps=1, layer_rate=0.02, norm_rate=0.002)
    learn(project, "lemon-cut-75", learning_world.source, learning_world.text, tmp_path)
    operators, _ = load_operators(tmp_path / "operators.safetensors")
    start = torch.eye(6)[[0, 1, 2, 3]]
    for type, gamma in operators.gamma.items():
        rate = 0.002 if type in ("ln1", "ln2") else 0.02
        moved = (gamma.dense() - start).abs().max().item()
        assert moved == pytest.approx(rate, rel=1e-3), type


def test_microbatches_give_the_gradient_of_the_whole_batch(learning_world, tmp_path):
    gammas = []
    for size in (1, 4):
        out = tmp_path / str(size)
        project = learning_world.project(steps=2, microbatch_sequences=size)
        learn(project, "lemon-cut-75", learning_world.source, learning_world.text, out)
        operators, _ = load_operators(out / "operators.safetensors")
        gammas.append(operators.gamma)
    # A step of Adam is a rate times a gradient over its size. A hundredth of it is allowed, since
    # gradients are off by far more than other numbers where their terms nearly cancel.
    allowed = 0.01 * project.preset.learning.layer_rate
    for type in LAYER_TYPES:
        torch.testing.assert_close(
            gammas[0][type].dense(), gammas[1][type].dense(), atol=allowed, rtol=0
        )


def test_a_method_that_learns_nothing_is_refused(learning_world, tmp_path):
    project = learning_world.project()
    with pytest.raises(BadInput, match="lemon build"):
        learn(project, "cut-75", learning_world.source, learning_world.text, tmp_path / "run")


def test_metrics_go_on_with_the_events_that_a_checkpoint_carries(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path)
    for step in (1, 2, 3):
        metrics.write(step, step * 8, 0.5, {"train/loss": float(step)})
        if step == 2:
            carried = metrics.text
    metrics.close()
    path.write_text(path.read_text() + '{"step": 4, "tok')
    resumed = Metrics(path, carried)
    assert path.read_text() == carried
    resumed.write(3, 24, 0.5, {"train/loss": 3.5})
    resumed.close()
    assert [(event["step"], event["value"]) for event in read_events(path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.5),
    ]
    assert resumed.text == path.read_text()


@pytest.mark.parametrize(
    ("run", "start"),
    [("lemon-come-75", "come-75"), ("lemon-sleb-75", None), ("lemon-ff-merge-75", "ff-merge-75")],
)
def test_learning_begins_at_the_model_of_its_start(
    learning_world, tmp_path, monkeypatch, run, start
):
    """Units that CoMe places are placed in the weights; the teacher is the source all the same."""
    project = learning_world.project(steps=1, layer_rate=1e-9, norm_rate=1e-9)
    source, text = learning_world.source, learning_world.text
    first = project.run(run).start.id
    build(project, first, source, tmp_path / "start", text=text)
    fuse(source, tmp_path / "start" / "operators.safetensors", tmp_path / "merged")
    taught_by = []

    def assembled(*arguments, **others):
        taught_by.append(arguments[5])
        return assemble(*arguments, **others)

    monkeypatch.setattr("lemon.learning.run.assemble", assembled)
    learn(project, run, source, text, tmp_path / "run", start=tmp_path / "start")
    own = tmp_path / "run" / "placed_source"
    assert own.exists() == (first == start)
    assert [teacher and teacher.path for teacher in taught_by] == [source if start else None]
    learned = tmp_path / "run" / "operators.safetensors"
    fuse(own if start else source, learned, tmp_path / "learned")
    expected, found = Checkpoint(tmp_path / "merged"), Checkpoint(tmp_path / "learned")
    for name in expected.specs:
        torch.testing.assert_close(found.tensor(name), expected.tensor(name), atol=1e-6, rtol=1e-5)
