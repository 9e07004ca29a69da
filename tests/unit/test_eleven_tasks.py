"""All eleven tasks, at the paper's shots, are answered as lm-eval's own `hf` model answers them."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from roundoff import LOG_LIKELIHOOD_OFF
from task_rows import GOLD, write_mirror

from lemon.configuration.tasks import TASKS
from lemon.evaluation.asking import Answered, answered_chunks
from lemon.evaluation.outcomes import judge
from lemon.evaluation.prefix_lm import PrefixLM
from lemon.evaluation.questions import Task
from lemon.evaluation.tasks import opened_tasks

pytestmark = pytest.mark.slow

ROWS = 10  # MMLU: of ten subjects in turn


@pytest.fixture(scope="module")
def settings(models: dict[str, Any]) -> dict[str, Any]:
    return {**models, "max_length": 4096}  # the tokens of these tests are bytes


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    mirror = write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(TASKS, 20))
    with opened_tasks(list(TASKS), str(mirror), ROWS, fewshot="fixed") as opened:
        return {task.name: task for task in opened}


@pytest.fixture(scope="module")
def theirs(settings: dict[str, Any], tasks: dict[str, Task]) -> dict[str, dict[int, Answered]]:
    """What lm-eval's `hf` model answers, one request at a time; by task and question."""
    model = HFLM(**settings, batch_size=1, softmax_dtype="float32")
    found: dict[str, dict[int, Answered]] = {}
    for task in tasks.values():
        requests = [request for question in task.questions for request in question.requests]
        scores = iter(model.loglikelihood(requests, disable_tqdm=True))
        to_generate = [one.generated for one in task.questions if one.generated]
        texts = iter(model.generate_until(to_generate, disable_tqdm=True) if to_generate else [])
        found[task.name] = {
            one.id: Answered(
                one, [next(scores) for _ in one.requests], next(texts) if one.generated else None
            )
            for one in task.questions
        }
    return found


@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_are_those_of_lm_evals_hf_model(
    settings: dict[str, Any],
    tasks: dict[str, Task],
    theirs: dict[str, dict[int, Answered]],
    batch_size: int,
) -> None:
    model = PrefixLM(**settings, batch_size=batch_size)
    for task in tasks.values():
        ours = {one.question.id: one for chunk in answered_chunks(model, task) for one in chunk}
        assert ours.keys() == theirs[task.name].keys()
        assert task.shots == task.shots_asked == TASKS[task.name].shots
        for question in task.questions:
            mine, other = ours[question.id], theirs[task.name][question.id]
            assert mine.text == other.text
            assert (mine.text is None) == (task.name != "nq_open")
            values = [value for value, _ in other.scores]
            assert [value for value, _ in mine.scores] == pytest.approx(
                values, abs=LOG_LIKELIHOOD_OFF
            )
            assert [greedy for _, greedy in mine.scores] == [greedy for _, greedy in other.scores]
            verdicts = [judge(task, *answered) for answered in (mine, other)]
            assert verdicts[0].prediction == verdicts[1].prediction
            assert verdicts[0].correct == verdicts[1].correct


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_is_the_one_that_lm_eval_scores(tasks: dict[str, Task], name: str) -> None:
    """Its score over its bytes in UTF-8 gives bits per byte."""
    task = tasks[name]
    for question in task.questions:
        scores = [(-1.0 - place, False) for place in range(len(question.requests))]
        outcome = judge(task, question, scores, "none" if name == "nq_open" else None)
        assert outcome.gold == GOLD[name](question.row)
        scored = question.requests[outcome.gold].args[1]
        assert outcome.bytes[outcome.gold] == len(scored.encode("utf-8"))
        if name == "nq_open":
            assert scored == " " + question.row["answer"][0]


def test_examples_are_run_once_for_all_questions_of_a_task(
    settings: dict[str, Any], tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PrefixLM(**settings, batch_size=16)
    run: list[int] = []
    forward = model.model.base_model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        run.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model.base_model, "forward", counting)
    task = tasks["arc_challenge"]
    contexts = [d.requests[0].args[0] for d in task.questions]
    for _ in answered_chunks(model, task):
        pass
    examples = len(contexts[0].rsplit("\n\n", 1)[0])
    own = sum(len(context) - examples for context in contexts)
    answers = sum(len(r.args[1]) for d in task.questions for r in d.requests)
    assert examples <= run[0] <= examples + 40
    assert sum(run[1:]) <= own + answers


def test_a_resumed_task_runs_the_same_passes(
    settings: dict[str, Any], tasks: dict[str, Task]
) -> None:
    model = PrefixLM(**settings, batch_size=4)
    kinds = ("piqa", "lambada_openai", "nq_open", "mmlu")  # each asks for something else
    for task in (tasks[name] for name in kinds):
        whole = {one.question.id: one for chunk in answered_chunks(model, task) for one in chunk}
        known = {question.id for question in task.questions[: len(task.questions) // 2]}
        rest = {
            one.question.id: one for chunk in answered_chunks(model, task, known) for one in chunk
        }
        assert {id: whole[id] for id in rest} == rest
        assert rest.keys() | known == whole.keys()
