"""The learning-rate schedule at hand-worked steps."""

import pytest

from lemon.training.loop import rate_factor


def factor(step, steps=20, warmup_ratio=0.2, final_ratio=0.1):
    return rate_factor(step, steps, warmup_ratio=warmup_ratio, final_ratio=final_ratio)


def test_warm_up_is_linear_and_reaches_the_peak():
    assert [factor(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_the_cosine_starts_at_the_peak_is_halfway_in_the_middle_and_ends_at_the_floor():
    # 4 warm-up steps; the cosine spans steps 4 to 19, so its middle lies between 11 and 12.
    assert factor(4) == pytest.approx(1.0)
    assert (factor(11) + factor(12)) / 2 == pytest.approx(0.55)
    assert factor(19) == pytest.approx(0.1)


def test_a_run_of_one_step_and_one_without_warm_up_are_legal():
    assert factor(0, steps=1) == pytest.approx(1.0)
    assert factor(0, warmup_ratio=0.0) == pytest.approx(1.0)
