"""The mixture of domains that training reads, fixed or following its losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bigram import SEED, STEPS, Make, events, values

from lemon.configuration.learning_settings import LoadingSettings
from lemon.data.text.dynamic_batch_loading import updated_weights
from lemon.data.text.packing import PackedText
from lemon.errors import WorkFailed
from lemon.training.batches import Batches, DynamicBatches, batches_of


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
