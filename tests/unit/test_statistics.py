"""Intervals and tests against scipy, formulas and hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from lemon.reporting.statistics import (
    Interval,
    accuracy_interval,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    seed_spread,
    wilson_interval,
)


def answers(correct: int, documents: int) -> np.ndarray:
    return np.arange(documents) < correct


@pytest.mark.parametrize(("correct", "documents"), [(0, 20), (7, 20), (72, 100), (100, 100)])
def test_wilson_interval_is_the_formula(correct: int, documents: int) -> None:
    z = norm.ppf(0.975)
    p, n = correct / documents, documents
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = wilson_interval(correct, documents)
    assert interval.low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert interval.high == pytest.approx(min(1, centre + half), abs=1e-9)


def test_one_run_gets_wilson_and_means_over_seeds_the_bootstrap() -> None:
    assert accuracy_interval(answers(30, 100)) == wilson_interval(30, 100)
    over_seeds = np.where(answers(60, 100), 0.5, 0.0)  # two seeds, each right on half of these
    interval = accuracy_interval(over_seeds)
    spread = 1.96 * over_seeds.std() / 10
    assert interval.low == pytest.approx(0.3 - spread, abs=0.01)
    assert interval.high == pytest.approx(0.3 + spread, abs=0.01)


def test_bootstrap_of_one_task_has_the_binomial_quantiles() -> None:
    interval = mean_interval({"sciq": answers(30, 100)})
    assert interval.low == pytest.approx(binom.ppf(0.025, 100, 0.3) / 100, abs=0.0101)
    assert interval.high == pytest.approx(binom.ppf(0.975, 100, 0.3) / 100, abs=0.0101)


def test_mean_over_tasks_adds_the_variances_of_independent_tasks() -> None:
    tasks = {f"task{i}": answers(500, 1000) for i in range(4)}
    interval = mean_interval(tasks)
    error = math.sqrt(4 * 0.25 / 1000) / 4
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_an_interval_is_the_same_every_time() -> None:
    scores = {"a": answers(3, 10), "b": answers(8, 12)}
    assert mean_interval(scores) == mean_interval(dict(reversed(scores.items())))


def test_paired_interval_is_far_narrower_than_the_unpaired_where_models_agree() -> None:
    first = answers(52, 100)
    second = answers(50, 100)  # the same documents but for two
    difference, interval = paired_difference({"piqa": first}, {"piqa": second})
    assert difference == pytest.approx(0.02)
    assert interval.high - interval.low < 0.07 < 2 * 1.96 * math.sqrt(2 * 0.25 / 100)


def test_paired_difference_refuses_other_documents_or_tasks() -> None:
    with pytest.raises(ValueError, match="not the same documents"):
        paired_difference({"piqa": answers(1, 10)}, {"piqa": answers(1, 11)})
    with pytest.raises(ValueError, match="different tasks"):
        paired_difference({"piqa": answers(1, 10)}, {"sciq": answers(1, 10)})


def test_mcnemar_by_hand() -> None:
    # 6 documents only the first answers, 1 only the second: p = 2 * (1 + 7) / 2**7
    first = np.array([1] * 6 + [0] * 1 + [1] * 5 + [0] * 3, dtype=bool)
    second = np.array([0] * 6 + [1] * 1 + [1] * 5 + [0] * 3, dtype=bool)
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (6, 1)
    assert test.p_value == pytest.approx(2 * (1 + 7) / 2**7)


def test_mcnemar_of_equal_answers_is_one_and_of_seed_means_refused() -> None:
    assert mcnemar(answers(4, 9), answers(4, 9)).p_value == 1.0
    with pytest.raises(ValueError, match="single runs"):
        mcnemar(np.array([0.5, 1.0]), np.array([0.0, 1.0]))


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, then made monotone
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_seed_spread_is_the_sample_standard_deviation() -> None:
    assert seed_spread([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3))
    assert seed_spread([1.0]) is None


def test_zero_on_the_edge_is_not_excluded() -> None:
    assert not Interval(0.0, 1.0).excludes_zero()
    assert Interval(-2.0, -0.1).excludes_zero()
