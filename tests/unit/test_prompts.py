"""The prompts are lm-eval's own: the same text, the golden digests, and as many shots as fit."""

from __future__ import annotations

import json
import logging
import os
import random
from hashlib import sha256
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_rows import REPOSITORIES, write_mirror

from lemon.configuration.tasks import TASKS
from lemon.evaluation.outcomes import judge
from lemon.evaluation.prompts import Window
from lemon.evaluation.questions import Question, Task
from lemon.evaluation.tasks import opened_tasks

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "prompts.json"
SHARED_DATA = Path(os.environ.get("LEMON_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
DOCUMENTS = 5  # a task in the golden file
BUILT_IN = {
    "sciq": "sciq/sciq.yaml",
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "logiqa": "logiqa/logiqa.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml",
    "nq_open": "nq_open/nq_open.yaml",
}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(REPOSITORIES, 12))


def built_in(name: str, subject: str | None, rows: Path, scratch: Path, fewshot: str) -> Any:
    """lm-eval's own task file on the rows of a mirror, at the paper's shots."""
    from lm_eval.tasks import TaskManager

    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    file = BUILT_IN[name] if subject is None else f"mmlu/default/mmlu_{subject}.yaml"
    task = name if subject is None else f"mmlu_{subject}"
    config: dict[str, Any] = {
        "include": f"{spec.submodule_search_locations[0]}/tasks/{file}",
        "task": task,
        "dataset_path": str(rows / REPOSITORIES[name][0]),
        "dataset_kwargs": {"cache_dir": str(scratch / "cache")},
        "num_fewshot": TASKS[name].shots,
    }
    if fewshot == "fixed":
        config["fewshot_config"] = {"sampler": "first_n"}
    (scratch / f"{task}.yaml").write_text(json.dumps(config))
    theirs = TaskManager(include_path=scratch, include_defaults=False).load(task)["tasks"][task]
    theirs.set_fewshot_seed(1234)
    return theirs


def rendered_by_lm_eval(
    ours: Task, rows: Path, scratch: Path, fewshot: str
) -> tuple[list[Any], str]:
    """What lm-eval asks of the same questions, in the same order, and its task's version."""
    asked: list[Any] = []
    version = ""
    for group, members in groupby(ours.questions, lambda question: question.group):
        theirs = built_in(ours.name, group, rows, scratch, fewshot)
        theirs.build_all_requests(limit=len(list(members)))
        asked += [request.args for request in theirs.instances]
        version = str(theirs.VERSION)
    return asked, version


def prompts_of(question: Question) -> list[Any]:
    """What lm-eval asks of a question too; the log-likelihood of a gold answer is ours alone."""
    requests = [question.generated] if question.generated else question.requests
    return [request.args for request in requests]


def asked_of(task: Task) -> list[Any]:
    return [prompt for question in task.questions for prompt in prompts_of(question)]


def opened(name: str, rows: Path, limit: int | None, **settings: Any) -> Task:
    with opened_tasks([name], str(rows), limit, **settings) as tasks:
        [task] = tasks
    return task


def digests(task: Task) -> list[str]:
    """SHA-256 of each document's contexts with its answers or stop strings."""
    return [
        sha256(json.dumps([list(prompt) for prompt in prompts_of(question)]).encode()).hexdigest()
        for question in task.questions
    ]


def check_golden(name: str, kind: str, rows: Path, scratch: Path) -> None:
    task = opened(name, rows, DOCUMENTS)
    assert task.shots == task.shots_asked == TASKS[name].shots
    theirs, version = rendered_by_lm_eval(task, rows, scratch, "fixed")
    assert asked_of(task) == theirs
    assert task.version == version
    assert digests(task) == json.loads(GOLDEN.read_text())[kind][name]


@pytest.mark.parametrize("name", TASKS)
def test_fixed_prompts_are_lm_evals_own_and_the_golden_ones(
    name: str, generated: Path, tmp_path: Path
) -> None:
    check_golden(name, "generated", generated, tmp_path)


@pytest.mark.assets
@pytest.mark.parametrize("name", TASKS)
def test_prompts_of_packaged_rows_are_lm_evals_own_and_the_golden_ones(
    name: str, laptop_tasks: Path, tmp_path: Path
) -> None:
    check_golden(name, "packaged", laptop_tasks, tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_prompts_of_the_hubs_rows_are_lm_evals_own_and_the_golden_ones(
    name: str, tmp_path: Path
) -> None:
    config = {"mmlu": "anatomy", **{task: place[1] for task, place in REPOSITORIES.items()}}[name]
    rows = SHARED_DATA / "eval"
    if not (rows / REPOSITORIES[name][0] / {"default": "data"}.get(config, config or "")).is_dir():
        pytest.skip(
            f"{rows} has no rows of {name}: the golden prompts are of a sample of the Hub's own "
            "rows, whose licences keep it out of this repository; set LEMON_SHARED_DATA to the "
            "folder that holds it as eval/"
        )
    check_golden(name, "mirror", rows, tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_drawn_prompts_are_lm_evals_own(name: str, generated: Path, tmp_path: Path) -> None:
    task = opened(name, generated, None, fewshot="drawn")
    assert len(task.questions) == task.available == 12
    assert asked_of(task) == rendered_by_lm_eval(task, generated, tmp_path, "drawn")[0]
    contexts = {question.requests[0].args[0][:200] for question in task.questions}
    if TASKS[name].shots and name != "mmlu":
        assert len(contexts) > 6  # each its own examples


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_judged_as_by_lm_evals_own_task(
    name: str, generated: Path, tmp_path: Path
) -> None:
    task = opened(name, generated, None)
    theirs = {
        group: built_in(name, group, generated, tmp_path, "fixed")
        for group in {question.group for question in task.questions}
    }
    draw = random.Random(name)
    seen = set()
    for question in task.questions:
        rules, text = theirs[question.group], None
        scores = [(-9 * draw.random(), draw.random() < 0.5) for _ in question.requests]
        filtered: list[Any] = scores
        if task.lm_eval_task.OUTPUT_TYPE == "generate_until":
            text = draw.choice([f" {draw.choice(question.row['answer'])}".upper(), " owl", ""])
            filtered = [text.lstrip()]
        expected = rules.process_results(question.row, filtered)
        outcome = judge(task, question, scores, text)
        assert outcome.correct == bool(expected[task.metric])
        assert outcome.acc == bool(expected.get("acc", expected[task.metric]))
        assert outcome.acc_norm == expected.get("acc_norm")
        seen.add(outcome.correct)
    assert seen == {True, False}


@pytest.mark.parametrize("name", [name for name, info in TASKS.items() if info.shots])
def test_a_fixed_prefix_is_shared_by_the_questions_of_a_group(name: str, generated: Path) -> None:
    task = opened(name, generated, None)
    for _, members in groupby(task.questions, lambda question: question.group):
        contexts = [question.requests[0].args[0] for question in members]
        columns = enumerate(zip(*contexts, strict=False))
        prefix = contexts[0][: next(place for place, texts in columns if len({*texts}) > 1)]
        assert len(prefix) > 0.5 * max(map(len, contexts))
        examples = prefix.count("Answer:") + prefix.count("A:") * (name == "nq_open")
        if name != "hellaswag":
            assert examples >= TASKS[name].shots


def words(text: str) -> int:
    return len(text.split())


def boolq_mirror(folder: Path, scored: list[dict[str, Any]]) -> Path:
    """34 examples of 16 words each, and the scored rows."""
    place = folder / "aps/super_glue"
    (place / "boolq").mkdir(parents=True)
    card = "---\nconfigs:\n- config_name: boolq\n  data_files:\n"
    examples = [boolq_row(number, 11) for number in range(34)]
    for split, rows in (("train", examples), ("validation", scored)):
        pq.write_table(pa.Table.from_pylist(rows), place / "boolq" / f"{split}.parquet")
        card += f"  - split: {split}\n    path: boolq/{split}.parquet\n"
    (place / "README.md").write_text(f"{card}---\n")
    return folder


def boolq_row(number: int, length: int) -> dict[str, Any]:
    """Its prompt has 5 words beside the passage: "Question: is it? Answer: no"."""
    passage = " ".join([f"p{number}"] * length)
    return {"question": "is it", "passage": passage, "idx": number, "label": number % 2}


@pytest.mark.parametrize(("size", "shots"), [(1000, 32), (98, 4), (97, 3), (20, 0)])
def test_examples_leave_room_for_the_longest_question(
    tmp_path: Path, size: int, shots: int
) -> None:
    scored = [boolq_row(100 + length, length) for length in (5, 29, 12)]
    task = opened("boolq", boolq_mirror(tmp_path, scored), None, window=Window(words, size))
    assert (task.shots, task.shots_asked) == (shots, 32)
    assert max(words("".join(args)) for args in asked_of(task)) == 34 + 16 * shots


def test_a_question_among_the_examples_is_left_out_of_its_own(tmp_path: Path) -> None:
    scored = [boolq_row(7, 11), boolq_row(100, 11), boolq_row(33, 11)]
    rows = boolq_mirror(tmp_path / "rows", scored)
    task = opened("boolq", rows, None)
    assert asked_of(task) == rendered_by_lm_eval(task, rows, tmp_path, "fixed")[0]
    contexts = [question.requests[0].args[0] for question in task.questions]
    assert [context.count("p7 p7") > 0 for context in contexts] == [True, True, True]
    assert contexts[0].count("p7") == contexts[1].count("p7") == 11
    assert "p32" in contexts[0]
    assert "p32" not in contexts[1]


def test_a_generated_answer_has_its_room(generated: Path) -> None:
    longest = max(words(context) for context, _ in asked_of(opened("nq_open", generated, None)))
    for size, shots in ((longest + 256, 32), (longest + 255, 31)):
        task = opened("nq_open", generated, None, window=Window(words, size))
        assert task.shots == shots
    assert opened("nq_open", generated, None, window=Window(words, longest, 0)).shots == 32


def test_drawn_examples_are_left_to_lm_eval_to_cut(generated: Path) -> None:
    task = opened("boolq", generated, None, window=Window(words, 10), fewshot="drawn")
    assert task.shots == 32
