"""The tasks, their limits, and the rows of the folder that was named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_rows import REPOSITORIES, SUBJECTS, write_mirror

from lemon.configuration.tasks import TASKS
from lemon.errors import BadInput
from lemon.evaluation.mmlu import in_turn
from lemon.evaluation.prompts import Window
from lemon.evaluation.questions import Task
from lemon.evaluation.tasks import TASK_FILES, opened_tasks, rows_folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(REPOSITORIES, 12))


def test_every_task_has_a_file_with_its_shots_and_metric(mirror: Path) -> None:
    assert {path.stem for path in TASK_FILES.glob("*.yaml")} == set(TASKS)
    with opened_tasks(list(TASKS), str(mirror), 1) as opened:
        for task in opened:
            assert task.lm_eval_task.config.num_fewshot == TASKS[task.name].shots
            assert TASKS[task.name].metric in task.lm_eval_task.aggregation()
            assert task.split == REPOSITORIES[task.name][2]


def test_fewer_rows_than_the_limit_are_all_taken(mirror: Path) -> None:
    with opened_tasks(["piqa"], str(mirror), 500) as opened:
        [task] = opened
    assert (len(task.questions), task.available) == (12, 12)
    with opened_tasks(["piqa"], str(mirror), 5) as opened:
        [task] = opened
    assert ([document.id for document in task.questions], task.available) == ([0, 1, 2, 3, 4], 12)


def test_limits_of_single_tasks_go_before_the_common_one(mirror: Path) -> None:
    with opened_tasks(["piqa", "mmlu"], str(mirror), 5, limits={"mmlu": 7}) as opened:
        assert [len(task.questions) for task in opened] == [5, 7]


def test_subjects_take_turns() -> None:
    assert in_turn(["a", "a", "a", "b", "c", "c"]) == [0, 3, 4, 1, 5, 2]
    assert in_turn(["b", "a", "b", "a"]) == [1, 0, 3, 2]
    assert in_turn([None, None, None]) == [0, 1, 2]


def test_mmlu_is_one_task_whose_questions_are_ordered_by_subject(mirror: Path) -> None:
    with opened_tasks(["mmlu"], str(mirror), 7) as opened:
        [task] = opened
    first, second, third = SUBJECTS
    assert [(one.id, one.group) for one in task.questions] == [
        (0, first), (3, first), (6, first), (1, second), (4, second), (2, third), (5, third)
    ]  # fmt: skip
    assert {one.row["subject"] == one.group for one in task.questions} == {True}
    assert {one.group: one.shots for one in task.questions} == dict.fromkeys(SUBJECTS, 5)
    assert (task.available, task.split) == (12, "test")
    with opened_tasks(["mmlu"], str(mirror), None) as opened:
        [whole] = opened
    rows = {one.id: one.row for one in whole.questions}
    assert all(one.row == rows[one.id] for one in task.questions)  # whatever the limit


def test_subjects_have_shots_of_their_own(mirror: Path) -> None:
    def opened_mmlu(size: int) -> Task:
        window = Window(lambda text: len(text.split()), size)
        with opened_tasks(["mmlu"], str(mirror), None, window=window) as opened:
            return next(opened)

    free = opened_mmlu(10_000)
    longest = {
        subject: max(
            len("".join(request.args).split())
            for one in free.questions
            if one.group == subject
            for request in one.requests
        )
        for subject in SUBJECTS
    }
    tight = opened_mmlu(min(longest.values()))
    assert tight.shots < 5
    shots_of = {one.group: one.shots for one in tight.questions}
    assert tight.shots == min(shots_of.values())
    shortest = min(longest, key=lambda subject: longest[subject])
    assert shots_of[shortest] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda card: card.replace("generated: true\n", ""),
            "54 of MMLU's 57 subjects are missing",
        ),
        (lambda card: "no front matter", "doesn't name configs"),
        (lambda card: card.replace("split: dev", "split: development"), "dev rows of abstract_alg"),
        (lambda card: card.replace("anatomy/test", "anatomy/gone"), "test rows of anatomy"),
    ],
)
def test_an_incomplete_mmlu_is_refused(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    card = write_mirror(tmp_path, {"mmlu": 6}) / "cais/mmlu/README.md"
    card.write_text(change(card.read_text()))
    with (
        pytest.raises(BadInput, match=message),
        opened_tasks(["mmlu"], str(tmp_path), None) as opened,
    ):
        list(opened)


def test_mmlu_opens_from_its_config_of_all_subjects(mirror: Path, tmp_path: Path) -> None:
    files = {
        split: sorted(mirror.glob(f"cais/mmlu/*/{split}.parquet")) for split in ("test", "dev")
    }
    place = tmp_path / "cais/mmlu/all"
    place.mkdir(parents=True)
    for split, parts in files.items():
        pq.write_table(
            pa.concat_tables(map(pq.read_table, parts)), place / f"{split}-00000.parquet"
        )
    (place.parent / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n"
        "  - split: test\n    path: all/test-*\n  - split: dev\n    path: all/dev-*\n---\n"
    )
    digests = set()
    for folder in (mirror, tmp_path):
        with opened_tasks(["mmlu"], str(folder), None) as opened:
            [task] = opened
        digests.add(task.prompts_digest)
    assert len(digests) == 1


def test_too_few_rows_for_the_examples_are_refused(tmp_path: Path) -> None:
    write_mirror(tmp_path, {"nq_open": 3})
    path = next(tmp_path.rglob("train.parquet"))
    pq.write_table(pq.read_table(path).slice(0, 31), path)
    for fewshot, needed in (("fixed", 32), ("drawn", 33)):
        with (
            pytest.raises(BadInput, match=f"nq_open needs {needed} few-shot rows and there are 31"),
            opened_tasks(["nq_open"], str(tmp_path), None, fewshot=fewshot) as opened,
        ):
            list(opened)


def test_the_prompts_digest_follows_the_examples(mirror: Path) -> None:
    digests = []
    for settings in ({}, {"fewshot": "drawn"}, {"window": Window(len, 3000)}):
        with opened_tasks(["boolq"], str(mirror), 3, **settings) as opened:
            [task] = opened
        digests.append((task.rows_digest, task.prompts_digest))
    assert len({rows for rows, _ in digests}) == 1
    assert len({prompts for _, prompts in digests}) == 3


def test_two_mirrors_of_the_same_names_keep_their_own_rows(mirror: Path, tmp_path: Path) -> None:
    other = write_mirror(tmp_path, {"sciq": 12}, seed=3)
    digests = set()
    for folder in (mirror, other, mirror):
        with opened_tasks(["sciq"], str(folder), None) as opened:
            [task] = opened
        digests.add(task.rows_digest)
    assert len(digests) == 2


def test_missing_rows_name_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEMON_PACKAGED_TASKS", raising=False)
    with pytest.raises(BadInput, match="lemon prepare tasks"):
        rows_folder("packaged")
    with pytest.raises(BadInput, match="nowhere"):
        rows_folder("nowhere")
    monkeypatch.setenv("LEMON_PACKAGED_TASKS", str(tmp_path))
    assert rows_folder("packaged") == tmp_path
    assert rows_folder("hub") is None


def test_a_task_without_rows_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    write_mirror(tmp_path, {"piqa": 3})
    with (
        pytest.raises(BadInput, match="rows of task sciq are missing"),
        opened_tasks(["sciq"], str(tmp_path), None) as opened,
    ):
        list(opened)
    (tmp_path / "baber/piqa/default/validation.parquet").write_bytes(b"PAR1 cut short")
    with (
        pytest.raises(BadInput, match="rows of task piqa can't be read"),
        opened_tasks(["piqa"], str(tmp_path), None) as opened,
    ):
        list(opened)
