"""Pre-training against Hugging Face's Trainer and a source of known entropy, and its resumption."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from models import GROUPED_TIED, write_tiny_model
from packed_text import write_packed_text
from replanned import replanned
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, LlamaForCausalLM, TrainerCallback, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from lemon.architecture import tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.data.pretrained import load_model
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput, Diverged
from lemon.events import read_events
from lemon.files.manifest import read_manifest
from lemon.model_folder import write_checkpoint
from lemon.perplexity import mixture_loss
from lemon.pretraining.language_model import LanguageModel
from lemon.pretraining.run import pretrain, random_model
from lemon.training.batches import Batches
from lemon.training.loop import Trainer, rate_factor

CONFIG = Path(__file__).parents[2] / "config"
SCRATCH, CONTINUED = "scratch-width", "lemon-width-2-2-pretrained"
UNUSED = {"loading": {"update_every": None}, "snapshots": ()}


def smoke(world, steps: int = 8, **pretraining: object) -> Project:
    """The smoke preset with other pre-training settings; a fixed mixture unless they say else."""
    project = world.project(steps)
    old = project.preset.pretraining
    settings = type(old).model_validate(old.model_dump() | UNUSED | pretraining)
    return replanned(project, preset=project.preset.model_copy(update={"pretraining": settings}))


def losses(folder: Path, name: str = "train/loss") -> list[float]:
    events = read_events(folder / "metrics.jsonl")
    return [event["value"] for event in events if event["name"] == name]


def events(folder: Path) -> list[tuple]:
    """All events without times."""
    return [
        (event["step"], event["name"], event["value"])
        for event in read_events(folder / "metrics.jsonl")
        if event["name"] != "train/tokens_per_s"
    ]


@pytest.fixture(scope="module")
def small_model(learning_world, tmp_path_factory) -> Path:
    """A model of the sizes of `small`, in place of a fused one."""
    shape = load_project("smoke").run(CONTINUED).target_shape
    config = Checkpoint(learning_world.source).config
    folder = tmp_path_factory.mktemp("small") / "model"
    weights = random_model(config, shape, seed=3).state_dict()
    tensors = ((spec.name, weights[spec.name]) for spec in tensor_specs(shape))
    write_checkpoint(folder, shape, tensors, like=learning_world.source, dtype=torch.float32)
    return folder


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


def test_twenty_steps_follow_the_trainer_of_hugging_face(learning_world, small_model, tmp_path):
    steps = 20
    project = smoke(learning_world, steps, recompute=False)
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
    ours = losses(out)
    assert len(ours) == len(seen.values) == steps
    assert ours[-1] < ours[0] - 0.1  # it learns, so that equal losses say something
    np.testing.assert_allclose(ours, seen.values, rtol=0, atol=1e-3)
    trained = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    for (name, mine), other in zip(trained.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3, msg=name)


def test_the_written_model_is_the_trained_one_in_plain_transformers(
    learning_world, small_model, tmp_path, monkeypatch
):
    project, out, trained = smoke(learning_world), tmp_path / "run", []

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
        assert losses(out, f"tune/loss/{domain}")[-1] == pytest.approx(means[domain], abs=1e-5)
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
    project = smoke(
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
    before, after = losses(tmp_path / "run", "tune/loss/chain")
    assert before > 1.5 * entropy
    assert entropy * 0.98 < after < entropy * 1.02


class Killed(Exception):
    pass


@pytest.mark.parametrize("run_id", [SCRATCH, CONTINUED])
def test_interrupted_three_times_it_ends_bit_identical(
    learning_world, small_model, tmp_path, monkeypatch, run_id
):
    source = learning_world.source if run_id == SCRATCH else small_model
    steered = {"loading": {"update_every": 3}, "snapshots": (512, 1024)}
    project = smoke(learning_world, 14, checkpoint_every=2, **steered)
    arguments = (project, run_id, source, learning_world.text)
    pretrain(*arguments, tmp_path / "whole", learning_world.source)
    whole_step, taken = Trainer.take_step, []

    def step(trainer: Trainer, number: int) -> dict[str, float]:
        if number in (3, 7, 12) and number not in taken:
            taken.append(number)
            raise Killed
        return whole_step(trainer, number)

    monkeypatch.setattr(Trainer, "take_step", step)
    for _ in range(3):
        with pytest.raises(Killed):
            pretrain(*arguments, tmp_path / "cut", learning_world.source)
        assert not (tmp_path / "cut" / "manifest.json").exists()
    pretrain(*arguments, tmp_path / "cut", learning_world.source)
    assert taken == [3, 7, 12]
    for name in ("model", "snapshots/512/model", "snapshots/1024/model"):
        files = [tmp_path / which / name / "model.safetensors" for which in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert events(tmp_path / "whole") == events(tmp_path / "cut")
    assert any(name.startswith("mixture/") for _, name, _ in events(tmp_path / "cut"))
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_a_snapshot_is_the_model_after_its_tokens(learning_world, tmp_path):
    # 4 sequences of 32 tokens a step: 200 tokens are reached in the second step.
    out = tmp_path / "run"
    project = smoke(learning_world, 4, snapshots=(200, 512, 10**9), evaluate_every=1)
    assert project.run(SCRATCH).snapshots == {2: 200}  # 512 tokens are the whole run
    pretrain(project, SCRATCH, learning_world.source, learning_world.text, out)
    assert sorted(path.name for path in (out / "snapshots").iterdir()) == ["200"]
    model = LlamaForCausalLM.from_pretrained(out / "snapshots/200/model", dtype=torch.float32)
    text = PackedText(learning_world.text, ("tune",))
    rows = torch.from_numpy(np.stack([text.sequence("tune", "prose", n) for n in range(2)]))
    with torch.no_grad():
        loss = model(rows, labels=rows).loss.item()
    by_step = {step: value for step, name, value in events(out) if name == "tune/loss/prose"}
    assert loss == pytest.approx(by_step[2], abs=1e-5)
    assert abs(by_step[2] - by_step[3]) > 1e-4


def test_microbatches_add_up_to_their_batch(learning_world, tmp_path):
    ends = []
    for part in (1, 4):
        project = smoke(learning_world, 5, microbatch_sequences=part)
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, tmp_path / f"{part}")
        ends.append(losses(tmp_path / f"{part}"))
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-5)


def test_recomputed_activations_change_nothing(learning_world, tmp_path):
    ends = []
    for recompute in (True, False):
        project = smoke(learning_world, 4, recompute=recompute)
        out = tmp_path / str(recompute)
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, out)
        ends.append(events(out))
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


def test_a_finished_run_is_not_trained_again(learning_world, tmp_path, monkeypatch):
    project, out = smoke(learning_world, 2, snapshots=(128,)), tmp_path / "run"
    arguments = (project, SCRATCH, learning_world.source, learning_world.text, out)
    pretrain(*arguments)
    weights = Checkpoint(out / "model").digest()
    monkeypatch.setattr(Trainer, "run", lambda _: pytest.fail("it trained again"))
    pretrain(*arguments)
    assert Checkpoint(out / "model").digest() == weights
    (out / "snapshots/128/model/model.safetensors").unlink()
    with pytest.raises(pytest.fail.Exception):
        pretrain(*arguments)


def test_what_it_can_not_train_is_refused(learning_world, small_model, tmp_path):
    world, steered = learning_world, smoke(learning_world, loading={"update_every": 3})
    plain = smoke(learning_world)
    with pytest.raises(BadInput, match="needs a reference model"):
        pretrain(steered, SCRATCH, world.source, world.text, tmp_path / "run")
    with pytest.raises(BadInput, match="does not pre-train"):
        pretrain(plain, "lemon-cut-75", world.source, world.text, tmp_path / "run")
    with pytest.raises(BadInput, match="hidden_size"):
        pretrain(plain, CONTINUED, world.source, world.text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rate_that_is_too_high_ends_with_the_setting_to_lower(learning_world, tmp_path):
    project = smoke(learning_world, 60, weight_rate=900.0, warmup_ratio=0.0, checkpoint_every=1)
    with pytest.raises(Diverged, match=r"Lower pretraining\.weight_rate"):
        pretrain(project, SCRATCH, learning_world.source, learning_world.text, tmp_path / "run")
    assert not (tmp_path / "run/manifest.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\tpretraining\t0\tshear-small", "\tpretraining\t0\tshear-width", "shear-width has other"),
        (
            "scratch-small\tscratch\t-\tsmall\t-\tpretraining\tscratch\t0\tsource",
            "scratch-small\tscratch\t-\tsmall\t-\tpretraining\tscratch\t0\tcut-small",
            "cut-small is no source model, of whose family",
        ),
    ],
)
def test_a_row_that_can_not_be_pre_trained_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    config = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    rows = (config / "runs.tsv").read_text()
    assert rows.count(old) == 1
    (config / "runs.tsv").write_text(rows.replace(old, new))
    with pytest.raises(BadInput, match=said):
        load_project("smoke", config)
