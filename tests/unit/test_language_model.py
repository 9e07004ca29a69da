"""The language model scores as lm-eval's own `hf` model does, prefix sharing or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM

import lemon.evaluation.language_model as language_model
from lemon.errors import BadInput
from lemon.evaluation.language_model import SharedPrefixLM, TokenTree, token_log_likelihoods


def ask(model: HFLM, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    return model.loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm=True)


def assert_same_scores(ours: list, theirs: list) -> None:
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_a_tree_stores_each_prefix_once() -> None:
    tree = TokenTree()
    tree.add([7, 8, 9])
    tree.add([7, 8, 4])
    assert tree.shared([7, 8, 4, 1]) == 3
    assert tree.shared([8]) == 0
    tree.add([7, 5])
    assert tree.tokens == [7, 8, 9, 4, 5]
    assert tree.positions == [0, 1, 2, 2, 1]
    assert tree.paths == [[0, 1, 2], [0, 1, 3], [0, 4]]
    assert tree.ancestry(6).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],  # padding sees itself
    ]


def test_token_scores_are_the_log_softmax_and_argmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "HEAD_ROWS", 3)
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(6, 11), torch.randn(8, 6)
    logits = head(hidden)
    targets = logits.argmax(dim=1)
    targets[::2] = 5
    with torch.inference_mode():
        values, greedy = token_log_likelihoods(head, hidden, targets)
    expected = logits.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(values, expected)
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
        assert_same_scores(ask(SharedPrefixLM(**settings, batch_size=batch_size), pairs), theirs)
        assert "1 requests exceed 65 tokens and lose their beginning" in caplog.messages
        caplog.clear()


def test_the_greedy_continuation_is_recognised(models: dict[str, Any]) -> None:
    model = SharedPrefixLM(**models, batch_size=4)
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
        SharedPrefixLM(**models)._loglikelihood_tokens([(("Question", "nothing"), [1], [])])
