"""What lm-eval makes of answers, and the file of a task's outcomes, sealed and unfinished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from task_rows import REPOSITORIES, write_mirror

from lemon.evaluation.outcomes import (
    Outcome,
    UnfinishedOutcomes,
    judge,
    read_outcomes,
    write_outcomes,
)
from lemon.evaluation.questions import Question, Task
from lemon.evaluation.tasks import opened_tasks

KEY = {"weights": "abc", "rows": "def"}


def outcome(id: int) -> Outcome:
    norm = None if id == 3 else False
    return Outcome(id, 1, id % 2 == 0, True, norm, [-0.1 * id, -1e-9], [3, 4], 0)


def test_outcomes_come_back_sorted_and_exact(tmp_path: Path) -> None:
    path = tmp_path / "sciq.parquet"
    write_outcomes(path, [outcome(3), outcome(0), outcome(1)], KEY)
    assert read_outcomes(path, dict(reversed(KEY.items()))) == [outcome(0), outcome(1), outcome(3)]
    first = path.read_bytes()
    write_outcomes(path, [outcome(0), outcome(1), outcome(3)], KEY)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["sciq.parquet"]


def test_outcomes_of_another_key_or_a_damaged_file_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "sciq.parquet"
    assert read_outcomes(path, KEY) is None
    write_outcomes(path, [outcome(0)], KEY)
    assert read_outcomes(path, {**KEY, "rows": "other"}) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert read_outcomes(path, KEY) is None


@pytest.mark.parametrize("cut", [1, 30])
def test_unfinished_outcomes_lose_a_cut_line_alone(tmp_path: Path, cut: int) -> None:
    sealed = tmp_path / "sciq.parquet"
    UnfinishedOutcomes(sealed, KEY).append([outcome(0), outcome(1)])
    UnfinishedOutcomes(sealed, KEY).append([outcome(2)])
    [file] = tmp_path.iterdir()
    text = file.read_text()
    file.write_text(text[:-cut])
    resumed = UnfinishedOutcomes(sealed, KEY)
    assert resumed.outcomes == {0: outcome(0), 1: outcome(1)}
    resumed.append([outcome(2)])
    assert file.read_text() == text
    resumed.remove()
    assert not list(tmp_path.iterdir())


def test_unfinished_outcomes_of_another_key_are_dropped(tmp_path: Path) -> None:
    sealed = tmp_path / "sciq.parquet"
    UnfinishedOutcomes(sealed, KEY).append([outcome(0)])
    assert UnfinishedOutcomes(sealed, {**KEY, "weights": "other"}).outcomes == {}
    assert UnfinishedOutcomes(sealed, KEY).outcomes == {}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    mirror = write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(REPOSITORIES, 12))
    with opened_tasks(list(REPOSITORIES), str(mirror), None) as opened:
        return {task.name: task for task in opened}


def question(task: Task, id: int) -> Question:
    [found] = [one for one in task.questions if one.id == id]
    return found


@pytest.mark.parametrize(
    ("name", "row", "gold"),
    [("hellaswag", 2, 2), ("mmlu", 2, 2), ("boolq", 1, 1), ("arc_challenge", 4, 1)],
)
def test_a_choice_is_judged_by_the_papers_metric(
    tasks: dict[str, Task], name: str, row: int, gold: int
) -> None:
    task, asked = tasks[name], question(tasks[name], row)
    sizes = [len(answer.args[1].encode()) for answer in asked.requests]
    others = [place for place in range(len(sizes)) if place != gold]
    scores = [(-30.0 - place, False) for place in range(len(sizes))]
    scores[gold] = (-1.0, False)
    right = judge(task, asked, scores)
    assert (right.prediction, right.correct, right.acc) == (gold, True, True)
    assert right.loglikelihoods == [value for value, _ in scores]
    assert (right.bytes, right.gold) == (sizes, gold)
    assert right.group == ("college_physics" if name == "mmlu" else None)
    assert right.text is None
    scores[others[0]] = (-0.001, True)
    wrong = judge(task, asked, scores)
    assert (wrong.prediction, wrong.correct, wrong.acc) == (others[0], False, False)
    assert wrong.gold == gold


def test_lengths_decide_where_the_metric_is_normalised(tasks: dict[str, Task]) -> None:
    task, asked = tasks["arc_challenge"], question(tasks["arc_challenge"], 0)
    assert asked.row["choices"]["text"] == ["moss", "a grey heron 1", "café crème 2 2"]
    scores = [(-4.0, False), (-5.0, False), (-9.0, False)]  # a character: -1, -0.36, -0.64
    outcome = judge(task, asked, scores)
    assert asked.row["answerKey"] == "1"
    assert outcome.bytes == [5, 15, 17]  # a space before each, and two accents of two bytes
    assert outcome.prediction == 1
    assert (outcome.correct, outcome.acc, outcome.acc_norm) == (False, True, False)


@pytest.mark.parametrize("greedy", [True, False])
def test_a_last_word_counts_if_it_is_the_greedy_continuation(
    tasks: dict[str, Task], greedy: bool
) -> None:
    asked = question(tasks["lambada_openai"], 3)
    [request] = asked.requests
    assert request.args[1] == " row3"
    outcome = judge(tasks["lambada_openai"], asked, [(-2.5, greedy)])
    assert outcome == Outcome(3, 0 if greedy else -1, greedy, greedy, None, [-2.5], [5], 0)


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        (" the 雪 5 5", 0),  # case and article don't matter
        ("O'Row 5", 1),  # nor does punctuation
        (" a quoted newt", 2),
        ("雪 5", -1),
        ("", -1),
    ],
)
def test_a_generated_answer_matches_one_of_the_accepted_ones(
    tasks: dict[str, Task], text: str, alias: int
) -> None:
    task, asked = tasks["nq_open"], question(tasks["nq_open"], 5)
    assert asked.row["answer"] == ["The 雪 5 5", "o'row 5", 'a "quoted" newt']
    assert [request.args[1] for request in asked.requests] == [" The 雪 5 5"]
    outcome = judge(task, asked, [(-7.5, False)], text)
    right = alias >= 0
    assert outcome == Outcome(5, alias, right, right, None, [-7.5], [12], 0, None, text)


def test_generated_answers_and_groups_are_kept_in_the_file(tmp_path: Path) -> None:
    kept: list[Any] = [
        Outcome(0, -1, False, False, None, [-3.0], [9], 0, None, " a\u2028 \n b"),
        Outcome(1, 0, True, True, None, [-1.0], [2], 0, "anatomy"),
    ]
    sealed = tmp_path / "nq_open.parquet"
    write_outcomes(sealed, kept, KEY)
    assert read_outcomes(sealed, KEY) == kept
    UnfinishedOutcomes(sealed, KEY).append(kept)
    assert list(UnfinishedOutcomes(sealed, KEY).outcomes.values()) == kept
