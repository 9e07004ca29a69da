"""When a loss has diverged: a mean above the reference, or a number that is not finite."""

from __future__ import annotations

import math

import pytest

from lemon.training.divergence import Divergence


def test_divergence_is_a_mean_of_twenty_losses_above_the_reference() -> None:
    watch = Divergence(2.0)
    assert watch.found(1.0, 1.0) is None  # the reference
    assert all(watch.found(2.04, 1.0) is None for _ in range(18))
    # Mean of 1 and nineteen times 2.04 is 1.988; the first 2.06 makes it 20 without the 1.
    assert watch.found(2.04, 1.0) is None
    kept = Divergence(2.0)
    kept.load_state(watch.state())
    for one in (watch, kept):
        assert one.found(2.06, 1.0) == (
            "the loss of the last 20 steps is 2.04 against 1.00 at the start"
        )
    early = Divergence(2.0)
    assert early.found(1.0, 1.0) is None
    assert all(early.found(50.0, 1.0) is None for _ in range(18))  # nineteen are not enough
    assert early.found(50.0, 1.0) is not None
    uniform = Divergence(2.0, reference=5.0)
    assert all(uniform.found(9.9, 1.0) is None for _ in range(40))


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, 1.0)])
def test_numbers_that_are_not_finite_diverge_at_once(loss: float, norm: float) -> None:
    assert Divergence(2.0).found(loss, norm) == (
        f"the loss is {loss} and the gradient's norm {norm}"
    )
