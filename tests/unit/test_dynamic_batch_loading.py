"""Dynamic batch loading: the update by hand, and an order that survives change and interruption."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundoff import FLOAT64

from lemon.data.text.dynamic_batch_loading import DynamicBatchLoader, updated_weights
from lemon.data.text.order import BLOCK, SequenceOrder
from lemon.errors import BadInput

DOMAINS = ("a", "b", "c")
COUNTS = {"a": 7, "b": 40, "c": 3}
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
REFERENCES = {"a": 2.0, "b": 1.0, "c": 3.0}
# a is ln 2 above its reference, b is on it, c is ln 2 below.
LOSSES = {"a": 2.0 + math.log(2), "b": 1.0, "c": 3.0 - math.log(2)}

positive = st.floats(1e-3, 1e3)
mixtures = st.fixed_dictionaries({domain: positive for domain in DOMAINS})
nats = st.fixed_dictionaries({domain: st.floats(0.0, 30.0) for domain in DOMAINS})


def loader(weights=WEIGHTS, seed=0, counts=COUNTS, **changes) -> DynamicBatchLoader:
    rule = {"references": REFERENCES, "clip": True, "smoothing": 1e-4, **changes}
    return DynamicBatchLoader(counts, weights, seed, **rule)


def test_with_clipping_only_domains_above_their_reference_move():
    # w exp(delta) = 0.5 x 2, 0.3 x 1, 0.2 x 1: the sum is 1.5.
    after = updated_weights(WEIGHTS, LOSSES, REFERENCES, clip=True, smoothing=0.0)
    assert after == pytest.approx({"a": 1.0 / 1.5, "b": 0.3 / 1.5, "c": 0.2 / 1.5})


def test_without_clipping_a_domain_below_its_reference_loses():
    # w exp(delta) = 0.5 x 2, 0.3 x 1, 0.2 x 1/2: the sum is 1.4.
    after = updated_weights(WEIGHTS, LOSSES, REFERENCES, clip=False, smoothing=0.0)
    assert after == pytest.approx({"a": 1.0 / 1.4, "b": 0.3 / 1.4, "c": 0.1 / 1.4})


def test_smoothing_spreads_its_share_evenly():
    # 0.9 x (2/3, 1/5, 2/15) + 0.1 / 3, clipped, and 0.9 x (5/7, 3/14, 1/14) + 0.1 / 3.
    clipped = updated_weights(WEIGHTS, LOSSES, REFERENCES, clip=True, smoothing=0.1)
    assert clipped == pytest.approx({"a": 19 / 30, "b": 16 / 75, "c": 23 / 150})
    free = updated_weights(WEIGHTS, LOSSES, REFERENCES, clip=False, smoothing=0.1)
    assert free == pytest.approx({"a": 284 / 420, "b": 95 / 420, "c": 41 / 420})


def test_a_loss_far_above_its_reference_does_not_overflow():
    losses = {**REFERENCES, "a": 2000.0}
    after = updated_weights(WEIGHTS, losses, REFERENCES, clip=True, smoothing=1e-4)
    assert after == pytest.approx({"a": 1 - 2e-4 / 3, "b": 1e-4 / 3, "c": 1e-4 / 3})
    both = {"a": 2000.0, "b": 1999.0, "c": 3.0}
    after = updated_weights(WEIGHTS, both, REFERENCES, clip=True, smoothing=0.0)
    assert after == pytest.approx({"a": 5 / 8, "b": 3 / 8, "c": 0.0})


@given(mixtures, nats, nats, st.booleans(), st.floats(1e-6, 1.0))
def test_the_weights_stay_positive_and_sum_to_one(weights, losses, references, clip, smoothing):
    after = updated_weights(weights, losses, references, clip=clip, smoothing=smoothing)
    assert list(after) == list(weights)
    assert all(weight > 0 for weight in after.values())
    assert sum(after.values()) == pytest.approx(1.0, abs=16 * FLOAT64)  # three of five roundings


# The next two hold before smoothing, which pulls every ratio towards one. A weight is e to the
# power of a logarithm of up to 15, plus a difference of up to 30, less the largest such sum: it is
# rounded four times at up to 90, which counts twice in a ratio.
RATIO_OFF = 2 * 4 * 90 * FLOAT64


@given(mixtures, nats, nats, st.booleans())
def test_the_domain_further_above_its_reference_gains_on_the_other(
    weights, losses, references, clip
):
    after = updated_weights(weights, losses, references, clip=clip, smoothing=0.0)
    delta = {domain: losses[domain] - references[domain] for domain in DOMAINS}
    for further in DOMAINS:
        for other in DOMAINS:
            if delta[further] >= delta[other]:
                before = weights[further] / weights[other]
                assert after[further] >= after[other] * before * (1 - RATIO_OFF)


@given(mixtures, nats, nats)
def test_clipping_keeps_the_ratio_of_domains_below_their_reference(weights, losses, references):
    after = updated_weights(weights, losses, references, clip=True, smoothing=0.0)
    below = [domain for domain in DOMAINS if losses[domain] <= references[domain]]
    for one in below:
        for other in below:
            ratio = weights[one] / weights[other]
            assert after[one] == pytest.approx(after[other] * ratio, rel=RATIO_OFF)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused_and_the_old_weights_stay(loss):
    order = loader()
    with pytest.raises(BadInput, match=f"'b': {loss}.*not all finite"):
        order.update({**LOSSES, "b": loss})
    assert order.weights == pytest.approx(WEIGHTS)


@settings(max_examples=20)
@given(st.integers(0, 2**32), mixtures, st.lists(st.integers(0, 2 * BLOCK), max_size=4))
def test_with_constant_weights_the_rows_are_those_of_the_sequence_order(seed, weights, counts):
    dynamic = loader(weights, seed)
    rows = [row for count in counts for row in dynamic.take(count)]
    dynamic.reweigh(weights)  # to the same weights
    rows += dynamic.take(BLOCK + 5)
    order = SequenceOrder(COUNTS, weights, seed)
    assert rows == [order.locate(place) for place in range(len(rows))]


def test_the_rows_drawn_are_counted_by_domain():
    order = loader(WEIGHTS, 1)
    rows = order.take(100)
    assert order.drawn == {d: sum(domain == d for domain, _ in rows) for d in DOMAINS}
    assert sum(order.drawn.values()) == 100


def test_after_a_change_the_shares_follow_the_new_weights():
    order = loader(WEIGHTS, 5)
    order.take(3000)
    before = order.drawn
    order.reweigh({"a": 1.0, "b": 1.0, "c": 6.0})
    assert order.weights == {"a": 0.125, "b": 0.125, "c": 0.75}
    places = 20_000
    order.take(places)
    for domain, weight in order.weights.items():
        spread = (places * weight * (1 - weight)) ** 0.5
        assert abs(order.drawn[domain] - before[domain] - places * weight) < 4 * spread


def test_a_change_in_the_middle_of_an_epoch_repeats_and_skips_no_row():
    order = loader(WEIGHTS, 3)
    rows: dict[str, list[int]] = {domain: [] for domain in DOMAINS}
    for step in range(60):
        order.reweigh({"a": 1.0, "b": 1.0 + step % 7, "c": 0.2})
        for domain, row in order.take(17):
            rows[domain].append(row)
    for domain, count in COUNTS.items():
        assert len(rows[domain]) > 2 * count
        for start in range(0, len(rows[domain]) - count + 1, count):
            assert sorted(rows[domain][start : start + count]) == list(range(count))


@pytest.mark.parametrize("clip", [True, False])
def test_an_update_reweighs_the_order_from_the_losses(clip):
    updated = loader(clip=clip)
    expected = WEIGHTS
    for _ in range(3):
        updated.update(LOSSES)
        expected = updated_weights(expected, LOSSES, REFERENCES, clip=clip, smoothing=1e-4)
    assert updated.weights == pytest.approx(expected)
    assert updated.weights["a"] > 0.8


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    mixtures,
    st.lists(st.tuples(st.integers(0, 200), nats), min_size=1, max_size=5),
    st.integers(0, 300),
)
def test_a_run_resumed_from_json_goes_on_exactly(seed, weights, updates, more):
    whole = loader(weights, seed)
    for count, losses in updates:
        whole.take(count)
        whole.update(losses)
    whole.take(more)
    state = json.loads(json.dumps(whole.state(), sort_keys=True))
    resumed = loader(seed=seed)
    resumed.load_state(state)
    assert (resumed.weights, resumed.drawn) == (whole.weights, whole.drawn)
    for count, losses in [*updates, (BLOCK, LOSSES)]:
        assert resumed.take(count) == whole.take(count)
        resumed.update(losses)
        whole.update(losses)
        assert resumed.state() == whole.state()


def test_a_state_is_not_moved_by_what_is_drawn_later():
    order = loader()
    order.take(10)
    state = order.state()
    kept = json.dumps(state)
    order.take(10)
    order.update(LOSSES)
    assert json.dumps(state) == kept


def test_references_of_other_domains_are_refused_before_the_first_step():
    with pytest.raises(BadInput, match="reference losses: none for c, domains of the text"):
        loader(references={"a": 2.0, "b": 1.0})
