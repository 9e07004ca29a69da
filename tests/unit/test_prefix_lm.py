"""The language model scores and continues as lm-eval's own `hf` model does, sharing or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from roundoff import LOG_LIKELIHOOD_OFF, log_probabilities_off
from transformers import LlamaConfig, MistralConfig

import lemon.evaluation.prefix_lm as prefix_lm
from lemon.errors import BadInput
from lemon.evaluation.prefix_lm import PrefixLM, token_log_likelihoods
from lemon.evaluation.prompts import within_sliding_window


def ask(model: HFLM, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    return model.loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm=True)


def assert_same_scores(ours: list, theirs: list) -> None:
    assert [value for value, _ in ours] == pytest.approx(
        [value for value, _ in theirs], abs=LOG_LIKELIHOOD_OFF
    )
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_token_scores_are_the_log_softmax_and_argmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_lm, "HEAD_ROWS", 3)
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(6, 11), torch.randn(8, 6)
    logits = head(hidden)
    targets = logits.argmax(dim=1)
    targets[::2] = 5
    with torch.inference_mode():
        values, greedy = token_log_likelihoods(head, hidden, targets)
    expected = logits.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    allowed = 2 * log_probabilities_off(hidden, head.weight)
    torch.testing.assert_close(values, expected, atol=allowed, rtol=0)
    assert greedy.tolist() == (logits.argmax(dim=1) == targets).tolist()
    # Of equal logits the first is the greedy one, as for lm-eval.
    _, tied = token_log_likelihoods(torch.nn.Identity(), torch.zeros(2, 4), torch.tensor([0, 1]))
    assert tied.tolist() == [True, False]


def test_odd_requests_are_scored_as_lm_eval_does(
    models: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [
        ("", "no context"),
        ("A trailing space ", "moves over"),
        ("One byte", "."),
        ("One byte", "!"),
        ("The same", " twice"),
        ("The same", " twice"),
        ("A prefix", " of"),
        ("A prefix", " of another"),
        ("Unicode – 雪", " café"),
        ("x" * 90, " too long for the model, so cut on the left"),
    ]
    settings = {**models, "max_length": 64}
    theirs = ask(HFLM(**settings, batch_size=1), pairs)
    for batch_size in (1, 3, 16):
        assert_same_scores(ask(PrefixLM(**settings, batch_size=batch_size), pairs), theirs)
        assert "1 requests exceed 65 tokens and lose their beginning" in caplog.messages
        caplog.clear()


def test_the_greedy_continuation_is_recognised(models: dict[str, Any]) -> None:
    model = PrefixLM(**models, batch_size=4)
    requests = []
    for text in ("The owl", "Two newts met", "雪"):
        context = model.tok_encode(text)
        with torch.no_grad():
            [best] = model.model(torch.tensor([context])).logits[0, -1:].argmax(dim=1).tolist()
        requests += [((text, "best"), context, [best]), ((text, "other"), context, [best ^ 1])]
    scores = model._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in scores] == [True, False] * 3


def test_an_answer_without_tokens_is_refused(models: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="'nothing' after 'Question' has no tokens"):
        PrefixLM(**models)._loglikelihood_tokens([(("Question", "nothing"), [1], [])])


EXAMPLES = "".join(
    f"Question: how many newts are in pond {n}?\nAnswer: {n * n}\n\n" for n in range(5)
)


def instances(pairs: list[tuple[Any, ...]]) -> list[Any]:
    return [SimpleNamespace(args=pair) for pair in pairs]


def tokens_run(model: PrefixLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of each pass from now on."""
    counted: list[int] = []
    forward = model.model.base_model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        counted.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model.base_model, "forward", counting)
    return counted


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_context_that_all_questions_share_is_run_once(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    pairs = [
        (f"{EXAMPLES}Question: which {animal} is it?\nAnswer:", answer)
        for animal in ("newt", "owl", "grasshopper", "newt")
        for answer in (" the old one", " the other", " it")
    ]
    theirs = ask(HFLM(**models, batch_size=1), pairs)
    model = PrefixLM(**models, batch_size=batch_size)
    counted = tokens_run(model, monkeypatch)
    with model.sharing(instances(pairs)):
        shared = len(model.tok_encode(f"{EXAMPLES}Question: which "))
        assert counted == [shared]
        ours = ask(model, pairs)
        assert ask(model, pairs) == ours  # the kept states were not touched
    assert_same_scores(ours, theirs)
    longest = len(model.tok_encode(" ".join(pairs[6]))) - shared
    assert max(counted[1:]) <= longest * batch_size
    counted.clear()
    assert_same_scores(ask(model, pairs), theirs)  # outside the block nothing is kept
    assert counted[0] > shared


def test_what_is_kept_does_not_depend_on_what_is_asked(models: dict[str, Any]) -> None:
    pairs = [(f"{EXAMPLES}Question: {word}?\nAnswer:", " yes") for word in ("sun", "moon", "sea")]
    model = PrefixLM(**models, batch_size=16)
    with model.sharing(instances(pairs)):
        alone = ask(model, pairs[2:])
    with model.sharing(instances(pairs)):
        ask(model, pairs[:1])
        assert ask(model, pairs[2:]) == alone


def test_answers_of_a_long_question_share_a_pass(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_lm, "PASS_TOKENS", {"cpu": 40})
    pairs = [(f"{word * 20}:", f" answer {n}") for word in ("owl", "newt") for n in range(3)]
    model = PrefixLM(**models, batch_size=16)
    counted = tokens_run(model, monkeypatch)
    ask(model, pairs)
    assert counted == [len("owl" * 20 + ": answer "), len("newt" * 20 + ": answer ")]


def test_contexts_that_are_cut_on_the_left_share_nothing(models: dict[str, Any]) -> None:
    pairs = [(f"{EXAMPLES}Question: {word * 9}?\nAnswer:", " yes") for word in ("sun", "moon")]
    settings = {**models, "max_length": len(pairs[0][0])}
    model = PrefixLM(**settings, batch_size=2)
    with model.sharing(instances(pairs)):
        assert_same_scores(ask(model, pairs), ask(HFLM(**settings, batch_size=1), pairs))


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize("share", [True, False])
def test_generated_text_is_that_of_greedy_decoding(
    models: dict[str, Any], batch_size: int, share: bool
) -> None:
    theirs = HFLM(**models, batch_size=1)
    contexts = [f"{EXAMPLES}Question: {word}?\nAnswer:" for word in ("owl", "newt", "eel", "owl")]
    contexts.append(contexts[0] + theirs.tok_decode(_greedy(theirs, contexts[0], 2)))
    free = [theirs.tok_decode(_greedy(theirs, context, 12)) for context in contexts]
    stops = [free[0][4:6], free[1][7:8]]  # strings that do come
    for until in (stops, ["never said"]):
        settings = {"until": until, "do_sample": False, "max_gen_toks": 12}
        requests = instances([(context, settings) for context in contexts])
        expected = theirs.generate_until(requests, disable_tqdm=True)
        model = PrefixLM(**models, batch_size=batch_size)
        with model.sharing(requests if share else []):
            assert model.generate_until(requests) == expected
            assert model.generate_until(requests) == expected
    assert expected == free


def test_sampling_is_refused(models: dict[str, Any]) -> None:
    settings = {"until": ["."], "do_sample": True, "temperature": 0.7}
    with pytest.raises(BadInput, match="asks for sampling"):
        PrefixLM(**models).generate_until(instances([("The owl", settings)]))


def test_a_sliding_window_is_the_window() -> None:
    assert within_sliding_window(64, LlamaConfig()) == 64
    assert within_sliding_window(64, MistralConfig(sliding_window=None)) == 64
    assert within_sliding_window(64, MistralConfig(sliding_window=16)) == 16
    assert within_sliding_window(64, MistralConfig(sliding_window=4096)) == 64


def _greedy(model: HFLM, context: str, steps: int) -> list[int]:
    tokens = model.tok_encode(context)
    start = len(tokens)
    for _ in range(steps):
        with torch.no_grad():
            tokens.append(int(model.model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[start:]


def test_questions_that_share_nothing_fill_a_pass_to_its_limit(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tokens each are read, the answer's own is not."""
    monkeypatch.setattr(prefix_lm, "PASS_TOKENS", {"cpu": 8})
    model = PrefixLM(**models, batch_size=16)
    counted = tokens_run(model, monkeypatch)
    ask(model, [(question, "!") for question in ("owls", "newt", "eels")])
    assert counted == [8, 4]
