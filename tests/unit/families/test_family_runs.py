"""Every kind of run on models of each family: what it learned is what transformers computes.

Of the families that share their tensors the one with the most to differ in; of all five Table 3 is
made in tests/workflow/test_my_own_model.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learning_world import LearningWorld, write_learning_world
from lm_eval.models.huggingface import HFLM
from own_models import WHOLE_HEADS, save_model, write_preset
from roundoff import LOG_LIKELIHOOD_OFF
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.architecture import layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.evaluation.prefix_lm import PrefixLM
from lemon.learning.run import learn
from lemon.methods.build import build
from lemon.methods.calibration import Calibration
from lemon.methods.start import OPERATORS
from lemon.operators.file import load_operators
from lemon.operators.fuse import fuse
from lemon.perplexity import mixture_loss
from lemon.pretraining.run import pretrain
from lemon.similarity.activations import SUBLAYERS, write_activation_cka
from lemon.similarity.cka import cka_matrix

pytestmark = pytest.mark.slow

# Layers mixed, with weights and without; layers selected; widths mapped, with weights and without;
# masks over layers and over widths.
LEARNED = (
    *("lemon-cut-75", "lemon-cut-trained-75", "cut-tuned-75", "lemon-width-128-2"),
    *("cut-tuned-width", "shear-75", "shear-width"),
)
BUILT = ("come-75", "laco-75", "minitron-width", "ff-merge-75", "average-75", "random-75-s0")
NEW = {"qwen2": ["q_bias", "k_bias", "v_bias"], "qwen3": ["q_norm", "k_norm"]}


@pytest.fixture(scope="module", params=["llama-3", "qwen2", "qwen3"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LearningWorld:
    """Source and packed text of a model of each family."""
    path = tmp_path_factory.mktemp(request.param)
    more = WHOLE_HEADS if request.param == "qwen3" else ""
    model = save_model(path / "model", request.param, initializer_range=0.1)
    return write_learning_world(path, write_preset(path / "mine.yaml", model, more=more))


def tune_loss(model_folder: Path, text: PackedText, sequences: int) -> float:
    """transformers' loss on the tune text, the domains weighted as in the mixture."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    losses = {}
    for domain in text.domains:
        rows = range(min(sequences, text.num_sequences("tune", domain)))
        tokens = torch.from_numpy(np.stack([text.sequence("tune", domain, row) for row in rows]))
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits.flatten(0, 1)
        losses[domain] = float(cross_entropy(logits, tokens[:, 1:].flatten()))
    return mixture_loss(losses, text.weights)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("run_id", LEARNED)
def test_the_exported_model_has_the_loss_that_was_learned(
    world: LearningWorld, run_id: str, tmp_path: Path
) -> None:
    project, out = world.project(steps=4), tmp_path / "run"
    run = project.run(run_id)
    learn(project, run_id, world.source, world.text, out)
    large = Checkpoint(out / run.own_weights if run.own_weights else world.source)
    fuse(large.path, out / OPERATORS, tmp_path / "model")
    small = Checkpoint(tmp_path / "model")
    assert small.shape == run.target_shape
    loss = tune_loss(small.path, PackedText(world.text), run.learning.tune_sequences)
    assert manifest(out)["tune_loss"] == pytest.approx(loss, abs=1e-5)
    for type in NEW.get(small.shape.family, []) if run.method.trains_weights else ():
        name, source = layer_tensor_name(type, 0), Checkpoint(world.source)
        assert not torch.equal(large.tensor(name), source.tensor(name)), name


@pytest.mark.parametrize("run_id", BUILT)
def test_a_builder_sees_the_model_that_it_builds(
    world: LearningWorld, run_id: str, tmp_path: Path
) -> None:
    project = world.project()
    run, out, text = project.run(run_id), tmp_path / "run", PackedText(world.text)
    build(project, run_id, world.source, out, text=world.text if run.method.calibrates else None)
    fuse(world.source, out / OPERATORS, tmp_path / "model")
    assert Checkpoint(tmp_path / "model").shape == run.target_shape
    if run.changes_widths:
        return  # a calibration keeps the hidden size
    calibration = Calibration.of_text(
        *(Checkpoint(world.source), text, run.calibration, 4, run.seed),
        dtype=torch.float32,
        device=torch.device("cpu"),
    ).for_choice
    operators, _ = load_operators(out / OPERATORS)
    layers = range(operators.target.num_hidden_layers)
    loss = tune_loss(tmp_path / "model", text, 4)
    found = calibration.loss(calibration.last(operators, layers))
    assert found == pytest.approx(loss, abs=1e-5)


def test_a_small_model_is_pre_trained(world: LearningWorld, tmp_path: Path) -> None:
    project = world.project(steps=4)
    pretraining = project.preset.pretraining
    pretrain(project, "scratch-width", world.source, world.text, tmp_path, reference=world.source)
    model, run = Checkpoint(tmp_path / "model"), project.run("scratch-width")
    assert model.shape == run.target_shape
    loss = tune_loss(model.path, PackedText(world.text), pretraining.tune_sequences)
    assert manifest(tmp_path)["tune_loss"] == pytest.approx(loss, abs=1e-5)


def test_a_model_is_scored_as_lm_eval_scores_it(world: LearningWorld) -> None:
    given = {
        "pretrained": AutoModelForCausalLM.from_pretrained(world.source),
        "tokenizer": AutoTokenizer.from_pretrained(world.source),
        "max_length": 64,
    }
    context = "The owl by the old mill eats seeds. " * 8
    pairs = [(context + more, answer) for more in ("What", "Who") for answer in (" eats", " it")]
    requests = [SimpleNamespace(args=pair) for pair in pairs]
    theirs = HFLM(**given, batch_size=1).loglikelihood(requests, disable_tqdm=True)
    ours = PrefixLM(**given, batch_size=4)
    with ours.sharing(requests):
        found = ours.loglikelihood(requests, disable_tqdm=True)
    expected = [value for value, _ in theirs]
    assert [value for value, _ in found] == pytest.approx(expected, abs=LOG_LIKELIHOOD_OFF)


def test_layers_are_compared(world: LearningWorld, tmp_path: Path) -> None:
    for component in SUBLAYERS:
        weights = cka_matrix(Checkpoint(world.source), component)
        assert weights.shape == (6, 6)
        assert weights.diagonal() == pytest.approx(1)
        write_activation_cka(world.source, world.text, component, tmp_path / component)
