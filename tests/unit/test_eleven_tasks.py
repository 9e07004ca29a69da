"""All eleven tasks, at the paper's shots, are answered as lm-eval's own `hf` model answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from roundoff import LOG_LIKELIHOOD_OFF
from task_rows import write_mirror

from lemon.configuration.tasks import TASKS
from lemon.evaluation.asking import Answers, answered_chunks
from lemon.evaluation.outcomes import judge
from lemon.evaluation.prefix_lm import PrefixLM
from lemon.evaluation.prompts import Fewshot
from lemon.evaluation.questions import Task
from lemon.evaluation.tasks import opened_tasks

ROWS = 7  # MMLU: of three subjects in turn


def opened(mirror: Path, fewshot: Fewshot = "fixed") -> list[Task]:
    with opened_tasks(list(TASKS), str(mirror), ROWS, fewshot=fewshot) as tasks:
        return list(tasks)


@pytest.fixture(scope="module")
def settings(models: dict[str, Any]) -> dict[str, Any]:
    return {**models, "max_length": 4096}  # the tokens of these tests are bytes


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(TASKS, 20))


@pytest.fixture(scope="module")
def theirs(settings: dict[str, Any], mirror: Path) -> dict[str, dict[int, Answers]]:
    """What lm-eval's `hf` model answers, one request at a time; by task and document."""
    model = HFLM(**settings, batch_size=1, softmax_dtype="float32")
    found: dict[str, dict[int, Answers]] = {}
    for task in opened(mirror):
        requests = [request for document in task.questions for request in document.requests]
        generates = requests[0].request_type == "generate_until"
        ask = model.generate_until if generates else model.loglikelihood
        answers = iter(ask(requests, disable_tqdm=True))
        found[task.name] = {d.id: [next(answers) for _ in d.requests] for d in task.questions}
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_answers_are_those_of_lm_evals_hf_model(
    settings: dict[str, Any],
    mirror: Path,
    theirs: dict[str, dict[int, Answers]],
    batch_size: int,
) -> None:
    model = PrefixLM(**settings, batch_size=batch_size)
    for task in opened(mirror):
        ours = {d.id: answers for chunk in answered_chunks(model, task) for d, answers in chunk}
        assert ours.keys() == theirs[task.name].keys()
        assert task.shots == task.shots_asked == TASKS[task.name].shots
        for document in task.questions:
            mine, other = ours[document.id], theirs[task.name][document.id]
            if isinstance(other[0], str):
                assert mine == other
            else:
                values = [value for value, _ in other]
                assert [value for value, _ in mine] == pytest.approx(values, abs=LOG_LIKELIHOOD_OFF)
                assert [greedy for _, greedy in mine] == [greedy for _, greedy in other]
            verdicts = [judge(task, document, answers) for answers in (mine, other)]
            assert verdicts[0].prediction == verdicts[1].prediction
            assert verdicts[0].correct == verdicts[1].correct


def test_examples_are_run_once_for_all_questions_of_a_task(
    settings: dict[str, Any], mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PrefixLM(**settings, batch_size=16)
    run: list[int] = []
    forward = model.model.base_model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        run.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model.base_model, "forward", counting)
    [task] = [task for task in opened(mirror) if task.name == "arc_challenge"]
    contexts = [d.requests[0].args[0] for d in task.questions]
    for _ in answered_chunks(model, task):
        pass
    examples = len(contexts[0].rsplit("\n\n", 1)[0])
    own = sum(len(context) - examples for context in contexts)
    answers = sum(len(r.args[1]) for d in task.questions for r in d.requests)
    assert examples <= run[0] <= examples + 40
    assert sum(run[1:]) <= own + answers


def test_a_resumed_task_runs_the_same_passes(settings: dict[str, Any], mirror: Path) -> None:
    model = PrefixLM(**settings, batch_size=4)
    for task in opened(mirror):
        whole = {d.id: answers for chunk in answered_chunks(model, task) for d, answers in chunk}
        known = {document.id for document in task.questions[: len(task.questions) // 2]}
        rest = {d.id: a for chunk in answered_chunks(model, task, known) for d, a in chunk}
        assert {id: whole[id] for id in rest} == rest
        assert rest.keys() | known == whole.keys()
