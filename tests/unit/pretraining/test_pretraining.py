"""Pre-training against Hugging Face's Trainer, and on text of known entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from logged import logged, values_of
from models import GROUPED_TIED, write_tiny_model
from packed_text import write_packed_text
from pretraining_world import CONTINUED, SCRATCH, pretraining_project
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, LlamaForCausalLM, TrainerCallback, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.data.pretrained import load_model
from lemon.data.text.packing import PackedText
from lemon.files.manifest import read_manifest
from lemon.perplexity import mixture_loss
from lemon.pretraining.language_model import LanguageModel
from lemon.pretraining.run import pretrain, random_model
from lemon.training.batches import Batches
from lemon.training.loop import rate_factor


class Rows(Dataset):
    """Rows of text in the order in which a run draws them."""

    def __init__(self, text: PackedText, seed: int, count: int) -> None:
        self.rows = torch.from_numpy(Batches(text, seed).take(0, count))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class InOrder(HuggingFaceTrainer):
    def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, arguments, state, control, logs=None, **_: object) -> None:
        if "loss" in logs:
            self.values.append(logs["loss"])


@pytest.mark.slow
def test_twenty_steps_follow_the_trainer_of_hugging_face(learning_world, small_model, tmp_path):
    steps = 20
    project = pretraining_project(learning_world, steps, recompute=False)
    run, out = project.run(CONTINUED), tmp_path / "ours"
    pretrain(project, CONTINUED, small_model, learning_world.text, out)

    settings = run.pretraining
    text = PackedText(learning_world.text, ("train", "tune"))
    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.weight_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )
    shares = {"warmup_ratio": settings.warmup_ratio, "final_ratio": settings.final_rate_ratio}
    schedule = LambdaLR(optimizer, lambda step: rate_factor(min(step, steps - 1), steps, **shares))
    seen = Losses()
    theirs = InOrder(
        model,
        TrainingArguments(
            str(tmp_path / "theirs"),
            max_steps=steps,
            per_device_train_batch_size=settings.microbatch_sequences,
            gradient_accumulation_steps=settings.batch_sequences // settings.microbatch_sequences,
            max_grad_norm=settings.max_gradient_norm,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Rows(text, run.seed, steps * settings.batch_sequences),
        optimizers=(optimizer, schedule),
        callbacks=[seen],
    )
    theirs.train()
    ours = values_of(out, "train/loss")
    assert len(ours) == len(seen.values) == steps
    assert ours[-1] < ours[0] - 0.1  # it learns, so that equal losses say something
    np.testing.assert_allclose(ours, seen.values, rtol=0, atol=1e-3)
    trained = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    for (name, mine), other in zip(trained.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3, msg=name)


def test_the_written_model_is_the_trained_one_in_plain_transformers(
    learning_world, small_model, tmp_path, monkeypatch
):
    project, out, trained = pretraining_project(learning_world), tmp_path / "run", []

    def loaded(*arguments, **options):
        trained.append(load_model(*arguments, **options))
        return trained[-1]

    monkeypatch.setattr("lemon.pretraining.run.load_model", loaded)
    pretrain(project, CONTINUED, small_model, learning_world.text, out)
    model = LlamaForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    tokens = torch.arange(30).reshape(2, 15)
    with torch.no_grad():
        logits, expected = model(tokens).logits, trained[0](tokens).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    text = PackedText(learning_world.text, ("tune",))
    count = project.preset.pretraining.tune_sequences
    means = {}
    for domain in text.domains:
        rows = torch.from_numpy(np.stack([text.sequence("tune", domain, n) for n in range(count)]))
        with torch.no_grad():
            means[domain] = model(rows, labels=rows).loss.item()
        assert values_of(out, f"tune/loss/{domain}")[-1] == pytest.approx(means[domain], abs=1e-5)
    recorded = read_manifest(out / "manifest.json")["tune_loss"]
    assert mixture_loss(means, text.weights) == pytest.approx(recorded, abs=1e-5)


def test_a_new_model_is_initialised_as_transformers_does(learning_world):
    source = Checkpoint(learning_world.source)
    shape = load_project("smoke").run(SCRATCH).target_shape
    before = torch.random.get_rng_state()
    ours = random_model(source.config, shape, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    theirs = LlamaForCausalLM(ours.config)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name
    assert ours.config.hidden_size == shape.hidden_size
    assert len(ours.model.layers) == shape.num_hidden_layers
    again = random_model(source.config, shape, seed=6)
    assert not torch.equal(
        ours.model.layers[0].mlp.up_proj.weight, again.model.layers[0].mlp.up_proj.weight
    )


def markov_chain(symbols: int, rows: int, length: int, seed: int) -> tuple[np.ndarray, float]:
    """Rows drawn from a chain with known transitions, and its entropy in nats a symbol."""
    draw = np.random.default_rng(11)
    matrix = draw.dirichlet(np.full(symbols, 0.3), size=symbols)
    values, vectors = np.linalg.eig(matrix.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    terms = matrix * np.log(np.where(matrix > 0, matrix, 1.0))
    entropy = float(-(stationary @ terms.sum(axis=1)))
    draw = np.random.default_rng(seed)
    states = np.empty((rows, length + 1), dtype=np.int64)
    states[:, 0] = draw.choice(symbols, rows, p=stationary)
    cumulated = matrix.cumsum(axis=1)
    for place in range(1, length + 1):
        uniform = draw.random(rows)[:, None]
        states[:, place] = (cumulated[states[:, place - 1]] < uniform).sum(axis=1)
    return np.minimum(states, symbols - 1), entropy


@pytest.mark.slow
def test_a_model_from_scratch_reaches_the_entropy_of_its_text(learning_world, tmp_path):
    symbols, length = 8, 32
    vocab = Checkpoint(learning_world.source).shape.vocab_size
    train, entropy = markov_chain(symbols, 8000, length, seed=1)
    tune, _ = markov_chain(symbols, 1600, length, seed=2)
    text = write_packed_text(
        tmp_path / "text", {"chain": train}, {"chain": tune}, {"chain": 1.0}, vocab
    )
    project = pretraining_project(
        learning_world,
        500,
        weight_rate=0.01,
        batch_sequences=16,
        microbatch_sequences=16,
        tune_sequences=1600,
        evaluate_every=500,
        checkpoint_every=500,
        loss_chunk_tokens=512,
        recompute=False,
    )
    pretrain(project, SCRATCH, learning_world.source, text, tmp_path / "run")
    before, after = values_of(tmp_path / "run", "tune/loss/chain")
    assert before > 1.5 * entropy
    assert entropy * 0.98 < after < entropy * 1.02


def test_microbatches_add_up_to_their_batch(learning_world, tmp_path):
    ends = []
    for part in (1, 4):
        project = pretraining_project(learning_world, 5, microbatch_sequences=part)
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, tmp_path / f"{part}")
        ends.append(values_of(tmp_path / f"{part}", "train/loss"))
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-5)


def test_recomputed_activations_change_nothing(learning_world, tmp_path):
    ends = []
    for recompute in (True, False):
        project = pretraining_project(learning_world, 4, recompute=recompute)
        out = tmp_path / str(recompute)
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, out)
        ends.append(logged(out))
    assert ends[0] == ends[1]


def test_narrow_products_keep_wide_weights(tmp_path):
    """Under bfloat16 the masters and their gradients stay float32, and the loss is near."""
    folder = write_tiny_model(tmp_path / "tiny", **GROUPED_TIED)
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        trainee = LanguageModel(model, dtype=dtype, rate=1e-3, chunk_tokens=8)
        tokens = torch.arange(34).reshape(2, 17) % model.config.vocab_size
        loss = trainee.losses(tokens, 0, 0)["loss"]
        loss.backward()
        losses[dtype] = loss.item()
        for group in trainee.groups:
            for name, weight in group.parameters.items():
                assert weight.dtype == weight.grad.dtype == torch.float32, name
    assert losses[torch.float32] == pytest.approx(losses[torch.bfloat16], rel=0.02)
    assert losses[torch.float32] != losses[torch.bfloat16]
