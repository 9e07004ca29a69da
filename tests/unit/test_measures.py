"""The measures of a model by hand, what each can show, and how often each errs."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import DOCUMENTS, FLOORS, scored_text, write_outcomes, write_scored_text
from manifests import seal_again
from scipy.special import softmax
from scipy.stats import binom

from lemon.errors import BadInput
from lemon.evaluation import outcomes
from lemon.evaluation.outcomes import Outcome
from lemon.reporting.facts.answers import read_answers
from lemon.reporting.facts.heldout import read_floors, read_heldout
from lemon.reporting.facts.outcomes import read_run
from lemon.reporting.facts.statistics import Design, paired_difference, sign_flip_test

TWO_CHOICES = [
    Outcome(0, 1, True, True, None, [-4.0, -2.0], [8, 4], gold=1),
    Outcome(1, 0, False, False, None, [-1.0, -3.0], [2, 6], gold=1),
    Outcome(2, 0, True, True, None, [-5.0, -6.0], [1, 1], gold=-1),  # no answer is right
]


def test_measures_of_answers_by_hand(tmp_path: Path) -> None:
    """2 nats over 4 bytes, 3 over 6; odds of e^2 against 1, and of 1 against e^2."""
    outcomes.write_outcomes(tmp_path / "piqa.parquet", TWO_CHOICES, key={})
    found = read_answers(tmp_path / "piqa.parquet")
    assert found.correct.tolist() == [True, False, True]
    half = 0.5 / math.log(2)
    assert found.bits_per_byte == pytest.approx([half, half])
    odds = math.exp(2)
    assert found.share == pytest.approx([odds / (1 + odds), 1 / (1 + odds)])


def test_a_single_given_answer_has_no_share(tmp_path: Path) -> None:
    generated = Outcome(0, -1, False, False, None, [-math.log(16)], [2], gold=0, text="no")
    outcomes.write_outcomes(tmp_path / "nq_open.parquet", [generated], key={})
    found = read_answers(tmp_path / "nq_open.parquet")
    assert found.bits_per_byte == pytest.approx([2.0])  # four bits over two bytes
    assert found.share is None


def test_outcomes_of_an_earlier_version_are_to_be_scored_again(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", {"sciq": [True, False]}, loss=2.0)
    path = tmp_path / "cut" / "outcomes" / "sciq.parquet"
    pd.read_parquet(path).drop(columns=["gold", "bytes"]).to_parquet(path)
    seal_again(path.with_name("manifest.json"))
    with pytest.raises(BadInput, match=r"sciq\.parquet: has no bytes, gold;.*evaluate the run aga"):
        read_run(tmp_path, "cut", ["sciq"])


def test_a_right_answer_without_bytes_or_likelihood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "piqa.parquet"
    for values, sizes in (([-1.0, -2.0], [0, 3]), ([-math.inf, -2.0], [3, 3]), ([-1.0], [3, 3])):
        wrong = Outcome(0, 0, True, True, None, values, sizes, gold=0)
        outcomes.write_outcomes(path, [wrong], key={})
        with pytest.raises(BadInput, match="no finite log-likelihood or no bytes"):
            read_answers(path)


def test_perplexity_of_an_earlier_version_is_to_be_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "perplexity.json"
    path.write_text(json.dumps({"loss": 2.0, "domains": {}}))
    with pytest.raises(BadInput, match=r"temperature: field required; .*evaluate the run again"):
        read_heldout(path)


def test_floors_are_those_of_the_text_that_was_scored(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "runs" / "cut", {"sciq": [True]}, loss=2.0)
    write_scored_text(scored_text(tmp_path / "runs"))
    heldout = read_run(tmp_path / "runs", "cut", ["sciq"]).heldout
    assert heldout is not None
    text = scored_text(tmp_path / "runs")
    assert read_floors(text, [heldout]) == FLOORS
    manifest = json.loads((text / "manifest.json").read_text())
    heldout_split = manifest["domains"]["wikipedia"]["splits"]["heldout"]
    heldout_split["row_documents"] = [*DOCUMENTS[:-1], 8]
    seal_again(text / "manifest.json", domains=manifest["domains"])
    with pytest.raises(BadInput, match="is not the text that the runs were scored on"):
        read_floors(text, [heldout])


def test_sequences_of_one_document_are_one_observation() -> None:
    """The difference is the document's alone: four copies of each sequence tell nothing more."""
    rng = np.random.default_rng(0)
    own = rng.normal(0.1, 1, 30)
    zeros = np.zeros(30)
    copies = Design({"a": 1.0}, {"a": [*range(30)] * 4})
    single = paired_difference({"a": own}, {"a": zeros})
    fourfold = paired_difference({"a": np.tile(own, 4)}, {"a": np.tile(zeros, 4)}, copies)
    assert fourfold.estimate == pytest.approx(single.estimate)
    assert vars(fourfold.interval) == pytest.approx(vars(single.interval))
    assert fourfold.standard_error == pytest.approx(single.standard_error)
    p_value = sign_flip_test({"a": np.tile(own, 4)}, {"a": np.tile(zeros, 4)}, copies)
    assert p_value == sign_flip_test({"a": own}, {"a": zeros})
    as_if = paired_difference({"a": np.tile(own, 4)}, {"a": np.tile(zeros, 4)})
    assert as_if.standard_error < 0.6 * single.standard_error


def test_domains_count_with_their_weights_and_documents_with_their_sequences() -> None:
    """Domain a: documents of 1 and 3 sequences, mean 2.5; b: mean 1; 0.8 and 0.2 of the mixture."""
    design = Design({"a": 0.8, "b": 0.2}, {"a": [7, 9, 9, 9], "b": [4, 5]})
    first = {"a": np.array([1.0, 3.0, 3.0, 3.0]), "b": np.array([1.0, 1.0])}
    zeros = {name: np.zeros_like(values) for name, values in first.items()}
    found = paired_difference(first, zeros, design)
    assert found.estimate == pytest.approx(0.8 * 2.5 + 0.2 * 1.0)
    # samples of two documents of a: 7 twice 1/4, 9 twice 1/4, both 1/2, whose mean is 10 / 4
    means = np.array([1.0, 3.0, 2.5, 2.5])
    error = math.sqrt(2 / 10_000)  # of a standard deviation, relative, at most
    assert found.standard_error == pytest.approx(0.8 * means.std(), rel=4 * error)


DOCUMENTS_A_TASK, TASKS, TRIALS = 60, ("a", "b"), 300
GAINS = (0.0, 0.03, 0.1, 0.3)  # nats


def planted(gain: float, trial: int) -> dict[str, float]:
    """The p-value by measure of two models whose true difference is `gain`.

    Every document has four choices whose log-likelihoods scatter by one nat around a difficulty
    that both models share, and by 0.3 in each model on its own; in the first model the right answer
    is `gain` nats likelier. Held-out losses are `gain` nats lower; four sequences a document share
    its difficulty, and half of each model's own deviation.
    """
    rng = np.random.default_rng([trial, round(1000 * gain)])
    scores: list[dict[str, dict[str, np.ndarray]]] = [{}, {}]
    for task in TASKS:
        shared = rng.normal(0, 1, (DOCUMENTS_A_TASK, 4))
        for model, ahead in enumerate((gain, 0.0)):
            own = shared + rng.normal(0, 0.3, shared.shape)
            own[:, 0] += ahead
            right = own.argmax(axis=1) == 0
            bits = (20.0 - own[:, 0]) / (10 * math.log(2))  # ten bytes
            scores[model].setdefault("accuracy", {})[task] = right
            scores[model].setdefault("bits", {})[task] = bits
            scores[model].setdefault("share", {})[task] = softmax(own, axis=1)[:, 0]
    documents = np.repeat(np.arange(12), 4)
    shared = rng.normal(6, 1, 12)[documents]
    for model, ahead in enumerate((gain, 0.0)):
        own = rng.normal(0, 0.2, 12)[documents] + rng.normal(0, 0.2, documents.size)
        scores[model]["loss"] = {"text": shared + own - ahead}
    designs = {"loss": Design({"text": 1.0}, {"text": documents.tolist()})}
    return {
        name: sign_flip_test(*(one[name] for one in scores), designs.get(name, Design()))
        for name in scores[0]
    }


@pytest.fixture(scope="module")
def rejected() -> dict[float, dict[str, float]]:
    """By planted difference and measure, the share of trials with p < 0.05."""
    found = {}
    for gain in GAINS:
        p_values = pd.DataFrame([planted(gain, trial) for trial in range(TRIALS)])
        found[gain] = dict((p_values < 0.05).mean())
    return found


@pytest.mark.parametrize("measure", ["accuracy", "bits", "share", "loss"])
def test_a_difference_that_is_not_there_is_seen_in_one_trial_of_twenty(
    rejected: dict, measure: str
) -> None:
    """Within the central 99.9 % of binomial(300, 0.05); accuracies are discrete, so below it."""
    lowest, highest = binom.ppf([0.0005, 0.9995], TRIALS, 0.05) / TRIALS
    assert rejected[0.0][measure] <= highest
    assert rejected[0.0][measure] >= lowest


def test_continuous_measures_see_smaller_differences(rejected: dict) -> None:
    """On the same 120 documents bits per byte see 0.1 nats where accuracy needs more than 0.3."""
    assert rejected[0.1]["bits"] > 0.6 > 0.2 > rejected[0.1]["accuracy"]
    assert rejected[0.3]["bits"] > 0.99 > 0.7 > rejected[0.3]["accuracy"] > 0.4
    assert rejected[0.3]["loss"] > 0.7
    for smaller, larger in pairwise(GAINS):
        assert rejected[larger]["bits"] > rejected[smaller]["bits"]


def test_the_detectable_difference_is_seen_in_four_trials_of_five() -> None:
    """2.8 standard errors of a mean of normal differences."""
    rng = np.random.default_rng(1)
    draws = rng.normal(0, 1, (TRIALS, 100))
    gain = 2.8 / 10
    seen = [sign_flip_test({"a": one + gain}, {"a": np.zeros(100)}) < 0.05 for one in draws]
    lowest, highest = binom.ppf([0.0005, 0.9995], TRIALS, 0.8) / TRIALS
    assert lowest <= np.mean(seen) <= highest
