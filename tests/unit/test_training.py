"""The training loop with a model of two matrices that is no fusion, against a loop written by hand.

Everything is in float64, so that sums in another order differ by no more than rounding at 1e-16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_text import write_packed_text
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lemon.configuration.learning_settings import LearningSettings, LoadingSettings
from lemon.data.text.dynamic_batch_loading import updated_weights
from lemon.data.text.packing import PackedText
from lemon.errors import WorkFailed
from lemon.events import Metrics, read_events
from lemon.training.batches import Batches, DynamicBatches, batches_of
from lemon.training.checkpoints import TrainingCheckpoints
from lemon.training.divergence import Divergence
from lemon.training.loop import Trainer, rate_factor
from lemon.training.trainee import ParameterGroup

VOCABULARY, LENGTH, SEED, STEPS = 11, 6, 4, 5
RATES = {"embedding": 0.02, "head": 0.05}
SETTINGS = LearningSettings(
    batch_sequences=6,
    microbatch_sequences=2,
    warmup_ratio=0.4,
    final_rate_ratio=0.1,
    beta1=0.8,
    beta2=0.9,
    weight_decay=0.01,
    max_gradient_norm=0.05,  # every gradient here is larger
    checkpoint_every=2,
    evaluate_every=3,
    tune_sequences=5,
)
WEIGHTS = {"prose": 3.0, "code": 1.0}
EXACT = {"rtol": 1e-12, "atol": 1e-14}


class Bigram(nn.Module):
    """Logits of the next token from the one before: head @ embedding[token]."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(7)
        for name in RATES:
            start = torch.randn(VOCABULARY, 4, generator=draw, dtype=torch.float64)
            self.register_parameter(name, nn.Parameter(start))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.embedding[tokens_BT] @ self.head.T


def loss_of(model: Bigram, tokens: Tensor) -> Tensor:
    return cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


@dataclass
class PlainTrainee:
    """The model and, perhaps, a multiplier that pulls the sum of the head to `pull`."""

    pull: float | None = None
    model: Bigram = field(default_factory=Bigram)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = dict(self.model.named_parameters())
        self.multiplier = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.groups = [
            ParameterGroup(n, rate, f"x.{n}", {n: named[n]}) for n, rate in RATES.items()
        ]
        if self.pull is not None:
            named = {"multiplier": self.multiplier}
            self.groups.append(ParameterGroup("multiplier", 0.1, "x.m", named, ascends=True))
        self.device = torch.device("cpu")

    def losses(self, tokens_BT1: Tensor, step: int, microbatch: int) -> dict[str, Tensor]:
        self.asked.append((step, microbatch, tokens_BT1.shape))
        loss = loss_of(self.model, tokens_BT1)
        return {"loss": loss, "squared": loss.detach() ** 2}

    @torch.no_grad()
    def tune_loss(self, tokens_BT1: Tensor, *, exported: bool) -> float:
        self.asked.append(("tune", exported, len(tokens_BT1)))
        return loss_of(self.model, tokens_BT1).item() + (0.0 if exported else 0.25)

    def penalty(self) -> Tensor:
        return self.multiplier * (self.model.head.sum() - self.pull)

    def constrain(self, step: int) -> dict[str, float]:
        if self.pull is None:
            return {}
        penalty = self.penalty()
        penalty.backward()
        return {"train/penalty": penalty.item(), "step": step}


@pytest.fixture
def text(tmp_path: Path) -> PackedText:
    draw = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        return draw.integers(0, VOCABULARY, (count, LENGTH + 1))

    train = {"prose": rows(9), "code": rows(4)}
    heldout = {"prose": rows(7), "code": rows(3)}
    return PackedText(write_packed_text(tmp_path / "text", train, heldout, WEIGHTS, VOCABULARY))


Make = Callable[..., Trainer]


@pytest.fixture
def trainer(text: PackedText, tmp_path: Path) -> Make:
    def trainer(
        folder: str = "run", trainee: PlainTrainee | None = None, key: str = "k", **changes: Any
    ) -> Trainer:
        out = tmp_path / folder
        parts: dict[str, Any] = {
            "settings": SETTINGS,
            "steps": STEPS,
            "batches": Batches(text, SEED),
            "divergence": Divergence(2.0),
        }
        return Trainer(
            label="tiny",
            trainee=trainee or PlainTrainee(),
            text=text,
            checkpoints=TrainingCheckpoints(out / "checkpoints", key),
            metrics_path=out / "metrics.jsonl",
            **{**parts, **changes},
        )

    return trainer


def events(trainer: Trainer) -> list[tuple[int, int, str, float]]:
    """Every event but times."""
    return [
        (e["step"], e["tokens"], e["name"], e["value"])
        for e in read_events(trainer.metrics_path)
        if e["name"] != "train/tokens_per_s"
    ]


def values(trainer: Trainer, name: str) -> list[float]:
    return [value for _, _, found, value in events(trainer) if found == name]


def by_hand(text: PackedText, trainee: PlainTrainee) -> dict[str, list[float]]:
    """The same training, each step on its whole batch, in plain PyTorch."""
    batches = Batches(text, SEED)
    groups = [
        {"params": list(group.parameters.values()), "maximize": group.ascends}
        for group in trainee.groups
    ]
    betas = (SETTINGS.beta1, SETTINGS.beta2)
    optimizer = torch.optim.AdamW(groups, betas=betas, weight_decay=SETTINGS.weight_decay)
    logged: dict[str, list[float]] = {"loss": [], "norm": []}
    size = SETTINGS.batch_sequences
    for step in range(STEPS):
        optimizer.zero_grad()
        tokens = torch.from_numpy(batches.take(step * size, size))
        loss = loss_of(trainee.model, tokens)
        (loss if trainee.pull is None else loss + trainee.penalty()).backward()
        gradients = [p.grad for group in groups for p in group["params"]]
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
        for gradient in gradients:  # as torch clips, with its 1e-6
            gradient.mul_(min(1.0, SETTINGS.max_gradient_norm / (norm + 1e-6)))
        factor = rate_factor(step, STEPS, warmup_ratio=0.4, final_ratio=0.1)
        for group, ours in zip(optimizer.param_groups, trainee.groups, strict=True):
            group["lr"] = ours.rate * factor
        optimizer.step()
        logged["loss"].append(loss.item())
        logged["norm"].append(norm)
    return logged


@pytest.mark.parametrize("pull", [None, 0.3], ids=["plain", "constrained"])
def test_training_is_that_of_a_plain_loop(text: PackedText, trainer: Make, pull: Any) -> None:
    """Rows, mean over microbatches, constraint, clipping, schedule, rates and optimiser."""
    ours, theirs = PlainTrainee(pull), PlainTrainee(pull)
    run = trainer(trainee=ours)
    run.run()
    expected = by_hand(text, theirs)
    assert values(run, "train/loss") == pytest.approx(expected["loss"], rel=1e-12)
    assert values(run, "train/gradient_norm") == pytest.approx(expected["norm"], rel=1e-12)
    assert min(expected["norm"]) > SETTINGS.max_gradient_norm
    for group, other in zip(ours.groups, theirs.groups, strict=True):
        for name, parameter in group.parameters.items():
            torch.testing.assert_close(parameter, other.parameters[name], **EXACT)
    if pull is not None:
        assert values(run, "step") == list(range(STEPS))


def test_a_microbatch_is_told_its_step_and_number_and_each_loss_is_a_mean(trainer: Make) -> None:
    run = trainer()
    run.run()
    asked = [one for one in run.trainee.asked if one[0] != "tune"]
    shape = (2, LENGTH + 1)
    assert asked == [(step, part, shape) for step in range(STEPS) for part in range(3)]
    first = PlainTrainee()
    rows = torch.from_numpy(run.batches.take(0, 6))
    squares = [loss_of(first.model, part).item() ** 2 for part in rows.split(2)]
    assert values(run, "train/squared")[0] == pytest.approx(sum(squares) / 3, rel=1e-12)


def test_what_is_logged_when(trainer: Make) -> None:
    run = trainer()
    run.run()
    step = ["loss", "squared", "gradient_norm", "rate_embedding", "rate_head"]
    every = [f"train/{name}" for name in step]
    heldout = ["tune/loss/prose", "tune/loss/code", "tune/perplexity"]
    expected = {0: heldout, 1: every, 2: every, 3: every + heldout, 4: every, 5: every + heldout}
    found: dict[int, list[str]] = {}
    for at, tokens, name, _ in events(run):
        found.setdefault(at, []).append(name)
        assert tokens == at * 6 * LENGTH
    assert found == expected
    factors = [rate_factor(at, STEPS, warmup_ratio=0.4, final_ratio=0.1) for at in range(STEPS)]
    assert values(run, "train/rate_head") == [0.05 * factor for factor in factors]


def test_the_heldout_losses_are_means_over_the_first_sequences(
    text: PackedText, trainer: Make
) -> None:
    """Five rows of prose in passes of 2, 2 and 1, and all three of code."""
    run = trainer()
    start = Bigram()
    run.run()
    losses = {}
    for domain, count in (("prose", 5), ("code", 3)):
        rows = np.stack([text.sequence("tune", domain, row) for row in range(count)])
        losses[domain] = loss_of(start, torch.from_numpy(rows)).item()
        found = values(run, f"tune/loss/{domain}")[0]
        assert found == pytest.approx(losses[domain], rel=1e-12)
    mean = 0.75 * losses["prose"] + 0.25 * losses["code"]
    assert values(run, "tune/perplexity")[0] == pytest.approx(math.exp(mean), rel=1e-12)
    passes = [one[1:] for one in run.trainee.asked if one[0] == "tune"]
    assert passes[:5] == [(True, 2), (True, 2), (True, 1), (True, 2), (True, 1)]


class Cut(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("until", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pull", [None, 0.3], ids=["plain", "constrained"])
def test_a_run_cut_short_at_any_step_ends_as_the_whole_one(
    trainer: Make, monkeypatch: pytest.MonkeyPatch, until: int, pull: Any
) -> None:
    whole = trainer("whole", PlainTrainee(pull))
    whole.run()
    write = Metrics.write

    def write_or_cut(self: Metrics, step: int, *rest: Any) -> None:
        write(self, step, *rest)
        if step == until:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", write_or_cut)
        with pytest.raises(Cut):
            trainer("cut", PlainTrainee(pull)).run()
    resumed = trainer("cut", PlainTrainee(pull))
    resumed.run()
    assert events(resumed) == events(whole)
    for group, other in zip(resumed.groups, whole.groups, strict=True):
        for name, parameter in group.parameters.items():
            assert torch.equal(parameter, other.parameters[name])
    steps = [one[0] for one in resumed.trainee.asked if one[0] != "tune"]
    assert min(steps) == (until - 1) // 2 * 2  # from the newest checkpoint on, and not again


def test_checkpoints_come_every_so_many_steps_and_at_the_end(trainer: Make) -> None:
    run = trainer()
    saved = []
    save = run.checkpoints.save
    run.checkpoints.save = lambda step, state: (saved.append(step), save(step, state))[1]
    run.run()
    assert saved == [2, 4, 5]
    folder = run.metrics_path.parent / "checkpoints"
    assert sorted(path.name[:13] for path in folder.iterdir()) == ["step-00000004", "step-00000005"]
    state = run.checkpoints.newest()
    assert list(state) == [
        *("key", "step", "parameters", "optimizer", "batches", "divergence", "wall_s", "events")
    ]
    assert list(state["parameters"]) == ["embedding", "head"]
    assert state["events"] == run.metrics_path.read_text()
    assert state["batches"] == {}
    # The optimiser's average of gradients is that of clipped ones.
    first = trainer("one", steps=1)
    first.run()
    averages = first.checkpoints.newest()["optimizer"]["state"].values()
    norm = math.sqrt(sum(one["exp_avg"].square().sum().item() for one in averages))
    assert norm == pytest.approx((1 - 0.8) * 0.05, rel=1e-4)


def test_a_checkpoint_whose_bytes_are_not_those_of_its_name_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even one that torch reads without an error."""
    store = TrainingCheckpoints(tmp_path, "k")
    _, newest = store.save(1, {"value": 1}), store.save(2, {"value": 2})
    torch.save({"key": "k", "step": 2, "value": 3}, newest)
    assert store.newest() == {"key": "k", "step": 1, "value": 1}
    assert "damaged (its sha256 is not the one in its name), removed" in capsys.readouterr().err


def test_a_gradient_below_the_limit_is_not_scaled(trainer: Make) -> None:
    settings = SETTINGS.model_copy(update={"max_gradient_norm": 100.0})
    run = trainer(settings=settings, steps=1)
    run.run()
    averages = run.checkpoints.newest()["optimizer"]["state"].values()
    norm = math.sqrt(sum(one["exp_avg"].square().sum().item() for one in averages))
    assert norm == pytest.approx(0.2 * values(run, "train/gradient_norm")[0], rel=1e-12)


@pytest.mark.parametrize("clip", [True, False])
def test_a_domain_below_its_reference_loses_some_only_without_clipping(
    text: PackedText, clip: bool
) -> None:
    references, losses = {"prose": 2.0, "code": 2.5}, {"prose": 2.3, "code": 2.1}
    loading = LoadingSettings(update_every=2, clip=clip, smoothing=1e-3)
    weights = DynamicBatches(text, SEED, loading, references).update(losses)
    expected = updated_weights(text.weights, losses, references, clip=clip, smoothing=1e-3)
    assert weights == pytest.approx(expected, rel=1e-12)
    other = updated_weights(text.weights, losses, references, clip=not clip, smoothing=1e-3)
    assert weights["code"] != pytest.approx(other["code"], rel=1e-3)


def test_the_mixture_follows_the_losses_of_the_model_as_it_trains(
    text: PackedText, trainer: Make
) -> None:
    loading = LoadingSettings(update_every=2, smoothing=1e-3)
    references = {"prose": 2.0, "code": 2.5}
    run = trainer(batches=DynamicBatches(text, SEED, loading, references))
    run.run()
    assert [step for step, _, name, _ in events(run) if name == "mixture/prose"] == [2, 4]
    # At step 2 the losses are those of a run of two steps, and 0.25 for the larger model.
    twin = trainer("twin", steps=STEPS)
    twin.steps = STEPS
    for step in range(2):
        twin.take_step(step)
    losses = {name: loss + 0.25 for name, loss in twin.tune_losses(exported=True).items()}
    weights = updated_weights(text.weights, losses, references, clip=True, smoothing=1e-3)
    assert values(run, "mixture/prose")[0] == pytest.approx(weights["prose"], rel=1e-9)
    assert values(run, "mixture/code")[0] == pytest.approx(weights["code"], rel=1e-9)
    assert run.checkpoints.newest()["batches"]["drawn"]["prose"] > 0


def rows_of(batches: Batches, first: int) -> Any:
    return batches.take(first, 4).tolist()


def test_which_mixture_a_run_reads(text: PackedText) -> None:
    """Without loading, or with one that never updates, rows are a function of seed and place."""
    asked = []

    def source_losses() -> dict[str, float]:
        asked.append(None)
        return {"prose": 2.0, "code": 2.5}

    def of(loading: LoadingSettings | None) -> Batches:
        return batches_of(text, SEED, loading, num_parameters=10**9, source_losses=source_losses)

    still = of(None), of(LoadingSettings(update_every=None))
    assert all(type(one) is Batches and one.update_every is None for one in still)
    assert not asked
    moving = of(LoadingSettings(update_every=7))
    assert moving.update_every == 7
    assert len(asked) == 1
    assert rows_of(moving, 0) == rows_of(still[0], 0) == rows_of(still[1], 0)
    with pytest.raises(AssertionError):
        moving.take(5, 1)  # not the next place


def test_losses_that_are_not_finite_stop_the_run_at_their_step(trainer: Make) -> None:
    run = trainer()
    losses = run.trainee.losses

    def broken(tokens: Tensor, step: int, part: int) -> dict[str, Tensor]:
        found = losses(tokens, step, part)
        return {**found, "loss": found["loss"] * math.inf} if (step, part) == (3, 2) else found

    run.trainee.losses = broken
    with pytest.raises(WorkFailed, match="tiny: diverged at step 4 of 5: the loss is inf") as told:
        run.run()
    assert "Lower x.embedding or x.head of the preset" in str(told.value)
    assert "step-00000002-" in str(told.value)


def test_a_mixture_without_finite_losses_stops_the_run(text: PackedText, trainer: Make) -> None:
    loading = LoadingSettings(update_every=2)
    batches = DynamicBatches(text, SEED, loading, {"prose": 2.0, "code": 2.5})
    run = trainer(batches=batches)
    loss = run.trainee.tune_loss
    run.trainee.tune_loss = lambda tokens, exported: (
        loss(tokens, exported=True) if exported else math.nan
    )
    with pytest.raises(WorkFailed, match="diverged at step 2 of 5: the tune losses by domain"):
        run.run()
