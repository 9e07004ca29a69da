"""Intervals and tests against scipy, formulas and hand-worked numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, bootstrap, norm, permutation_test, tstd

from lemon.reporting.facts.statistics import (
    FLIPS,
    Interval,
    accuracy_interval,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    seed_spread,
    sign_flip_test,
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
    # Means over 100 documents come in steps of 0.005: two of them.
    assert interval.low == pytest.approx(0.3 - spread, abs=0.01)
    assert interval.high == pytest.approx(0.3 + spread, abs=0.01)


def test_bootstrap_of_one_task_has_the_binomial_quantiles() -> None:
    interval = mean_interval({"sciq": answers(30, 100)})
    # One answer in 100 more or fewer.
    assert interval.low == pytest.approx(binom.ppf(0.025, 100, 0.3) / 100, abs=0.0101)
    assert interval.high == pytest.approx(binom.ppf(0.975, 100, 0.3) / 100, abs=0.0101)


def test_mean_over_tasks_adds_the_variances_of_independent_tasks() -> None:
    tasks = {f"task{i}": answers(500, 1000) for i in range(4)}
    interval = mean_interval(tasks)
    error = math.sqrt(4 * 0.25 / 1000) / 4
    # A quantile at 2.5 % of 10,000 draws has a standard error of sqrt(0.025 x 0.975) / 100 over the
    # density there, 0.058: 0.027 of the 1.96 that it measures, so the width 0.01. Four of these.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_an_interval_is_the_same_every_time() -> None:
    scores = {"a": answers(3, 10), "b": answers(8, 12)}
    assert mean_interval(scores) == mean_interval(dict(reversed(scores.items())))


def test_paired_interval_is_far_narrower_than_the_unpaired_where_models_agree() -> None:
    first = answers(52, 100)
    second = answers(50, 100)  # the same documents but for two
    difference = paired_difference({"piqa": first}, {"piqa": second})
    interval = difference.interval
    assert difference.estimate == pytest.approx(0.02)
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


def differing(*differences: float) -> tuple[dict, dict]:
    """Two models with these differences on the documents of one task."""
    return {"task": np.array(differences)}, {"task": np.zeros(len(differences))}


def drawn(p_value: float) -> object:
    """An exact p-value as a test that draws `FLIPS` times finds it, within four standard errors."""
    return pytest.approx(p_value, abs=4 * math.sqrt(p_value * (1 - p_value) / FLIPS) + 1 / FLIPS)


def test_sign_flips_by_hand() -> None:
    # five documents, the first model ahead on each: 2 of the 32 patterns of signs lie as far out
    assert sign_flip_test(*differing(1, 1, 1, 1, 1)) == drawn(2 / 32)
    # 1, 1, -1 sums to 1, and no sum of three signs is nearer to zero
    assert sign_flip_test(*differing(1, 1, -1)) == 1.0
    # in thirds 3, -1, 1, so the sum is 3; of the sums 5, 3, 3, 1 and their negatives 6 are as far
    assert sign_flip_test(*differing(1, -1 / 3, 1 / 3)) == drawn(6 / 8)


def test_sign_flips_weigh_tasks_alike() -> None:
    # a has two documents and b one: the mean of means is 1 or -1 where all signs agree (2 of 8),
    # 0 where b is against both of a (2 of 8), and 1/2 or -1/2 in the other 4
    zeros = {"a": np.zeros(2), "b": np.zeros(1)}
    assert sign_flip_test({"a": np.array([1, 1]), "b": np.array([1])}, zeros) == drawn(2 / 8)
    assert sign_flip_test({"a": np.array([1, -1]), "b": np.array([1])}, zeros) == drawn(6 / 8)


def test_sign_flips_agree_with_every_pattern_of_signs() -> None:
    rng = np.random.default_rng(5)
    first = {"a": rng.integers(0, 4, 7) / 3, "b": rng.integers(0, 4, 4) / 3}
    second = {"a": rng.integers(0, 2, 7), "b": rng.integers(0, 2, 4)}
    a, b = first["a"] - second["a"], first["b"] - second["b"]
    observed = abs(a.mean() + b.mean())
    far = [
        abs((a * signs[:7]).mean() + (b * signs[7:]).mean()) > observed - 1e-12
        for signs in itertools.product((1, -1), repeat=11)
    ]
    assert 0.1 < np.mean(far) < 0.9
    assert sign_flip_test(first, second) == drawn(float(np.mean(far)))


def test_sign_flips_of_one_task_and_single_runs_are_mcnemars_test() -> None:
    first, second = answers(40, 60), np.roll(answers(32, 60), 15)
    exact = mcnemar(first, second).p_value
    assert 0.01 < exact < 0.5
    assert sign_flip_test({"piqa": first}, {"piqa": second}) == drawn(exact)


def test_a_sign_flip_p_value_is_never_zero_and_of_equal_answers_one() -> None:
    first, second = {"piqa": answers(500, 500)}, {"piqa": answers(0, 500)}
    assert sign_flip_test(first, second) == sign_flip_test(second, first) == 1 / (FLIPS + 1)
    assert sign_flip_test(first, first) == 1.0


def test_sign_flips_are_level_where_models_do_not_differ() -> None:
    """Of 200 pairs of models that guess alike, about one in twenty is called different."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        seeds = rng.random((3, 80)) < 0.4
        first = {"a": seeds[:, :40].mean(axis=0), "b": seeds[:, 40:].mean(axis=0)}
        single = rng.random(80) < 0.4
        rejected += sign_flip_test(first, {"a": single[:40], "b": single[40:]}) < 0.05
    assert 2 <= rejected <= 21  # binomial(200, 0.05), central 99.8 %


def test_sign_flips_refuse_other_documents_or_tasks() -> None:
    with pytest.raises(ValueError, match="not the same documents"):
        sign_flip_test({"piqa": answers(1, 10)}, {"piqa": answers(1, 11)})
    with pytest.raises(ValueError, match="different tasks"):
        sign_flip_test({"piqa": answers(1, 10)}, {"sciq": answers(1, 10)})


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


def test_wilson_interval_of_a_textbook_case() -> None:
    # 15 of 50: centre (0.3 + 1.9207/50) / (1 + 3.8415/50), half width by the formula, by hand
    interval = wilson_interval(15, 50)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.191, 0.4375)


def test_wilson_and_bootstrap_cover_a_known_accuracy_as_often_as_they_say() -> None:
    """Over every count that 200 documents can give, weighed by how often a 60 % model gives it."""
    documents, accuracy = 200, 0.6
    counts = np.arange(80, 161)  # all but a 1e-9th of the binomial
    weights = binom.pmf(counts, documents, accuracy)
    for interval_of in (accuracy_interval, lambda scores: mean_interval({"task": scores})):
        intervals = [interval_of(answers(int(count), documents)) for count in counts]
        covered = [interval.low <= accuracy <= interval.high for interval in intervals]
        assert 0.93 < float(weights @ covered) < 0.965


def test_bootstrap_agrees_with_scipys() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(150) < 0.7, rng.random(150) < 0.55
    difference = paired_difference({"piqa": first}, {"piqa": second})
    interval = difference.interval
    paired = first.astype(float) - second
    theirs = bootstrap(
        (paired,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert difference.estimate == pytest.approx(paired.mean())
    # One answer in 150.
    assert interval.low == pytest.approx(theirs.low, abs=0.007)
    assert interval.high == pytest.approx(theirs.high, abs=0.007)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 5), (3, 9), (12, 4), (30, 30)])
def test_mcnemar_agrees_with_scipys_binomial_test(only_first: int, only_second: int) -> None:
    both = 7
    first = np.array([1] * only_first + [0] * only_second + [1] * both, dtype=bool)
    second = np.array([0] * only_first + [1] * only_second + [1] * both, dtype=bool)
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (only_first, only_second)
    expected = binomtest(only_first, only_first + only_second, 0.5).pvalue
    tail = binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    assert test.p_value == pytest.approx(expected) == pytest.approx(min(1.0, 2 * tail))


def test_sign_flips_agree_with_scipys_permutation_test() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.integers(0, 4, 12) / 3, rng.integers(0, 2, 12).astype(float)
    exact = permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert sign_flip_test({"task": first}, {"task": second}) == drawn(float(exact))


def test_holm_rejects_what_bonferroni_does_and_never_reorders() -> None:
    p_values = [0.011, 0.004, 0.2, 0.04, 0.0006]
    # sorted 0.0006, 0.004, 0.011, 0.04, 0.2 times 5, 4, 3, 2, 1
    assert holm(p_values) == pytest.approx([0.033, 0.016, 0.2, 0.08, 0.003])
    bonferroni = [min(1.0, 5 * p) for p in p_values]
    assert all(ours <= theirs for ours, theirs in zip(holm(p_values), bonferroni, strict=True))


def test_seeds_and_documents_are_two_errors() -> None:
    """Where seeds differ and documents don't, only the spread says so, and the other way round."""
    # each document is answered by one of two seeds: the seeds are far apart, their mean is the same
    # on every document, so the documents say nothing is uncertain
    seeds = [1.0, 0.0]
    interval = accuracy_interval(np.full(100, np.mean(seeds)))
    assert interval == Interval(0.5, 0.5)
    assert seed_spread(seeds) == pytest.approx(tstd(seeds)) == pytest.approx(math.sqrt(0.5))
    # seeds that answer alike have no spread, and the interval of the documents is as wide as one's
    alike = [0.6, 0.6, 0.6]
    assert seed_spread(alike) == 0.0
    one, all_three = answers(60, 100), np.mean([answers(60, 100)] * 3, axis=0)
    assert accuracy_interval(all_three) == accuracy_interval(one)
