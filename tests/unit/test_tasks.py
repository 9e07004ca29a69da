"""The task files say what lm-eval's own say, on the rows of the folder that was named."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from task_rows import REPOSITORIES, write_mirror

from lemon.errors import BadInput
from lemon.evaluation.tasks import TASK_FILES, check_task_names, opened_tasks, rows_folder
from lemon.registry import TASKS

BUILT_IN = {
    "sciq": "sciq/sciq.yaml",
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "logiqa": "logiqa/logiqa.yaml",
}
REAL_ROWS = (
    Path(os.environ.get("LEMON_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "eval"
)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(REPOSITORIES, 12))


def built_in_task(name: str, rows: Path, scratch: Path):
    """lm-eval's own task on the rows of a mirror."""
    from lm_eval.tasks import TaskManager

    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    config = {
        "include": f"{spec.submodule_search_locations[0]}/tasks/{BUILT_IN[name]}",
        "dataset_path": str(rows / REPOSITORIES[name][0]),
        "dataset_kwargs": {"cache_dir": str(scratch / "cache")},
    }
    (scratch / f"{name}.yaml").write_text(json.dumps(config))
    return TaskManager(include_path=scratch, include_defaults=False).load(name)["tasks"][name]


def assert_renders_as_lm_eval(name: str, rows: Path, scratch: Path, limit: int) -> None:
    theirs = built_in_task(name, rows, scratch)
    theirs.set_config(key="num_fewshot", value=TASKS[name].shots)
    theirs.build_all_requests(limit=limit)
    with opened_tasks([name], str(rows), limit) as opened:
        [ours] = opened
    requests = [request for document in ours.documents for request in document.requests]
    assert len(requests) > limit
    assert [one.args for one in requests] == [one.args for one in theirs.instances]
    assert [one.doc_id for one in requests] == [one.doc_id for one in theirs.instances]
    assert ours.version == str(theirs.VERSION)
    answers = [(0.0 if i else -1.0, False) for i in range(len(ours.documents[0].requests))]
    row = ours.documents[0].row
    assert ours.lm_eval_task.process_results(row, answers) == theirs.process_results(row, answers)


@pytest.mark.parametrize("name", TASKS)
def test_prompts_are_lm_evals_own(name: str, mirror: Path, tmp_path: Path) -> None:
    assert_renders_as_lm_eval(name, mirror, tmp_path, limit=12)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.skipif(not REAL_ROWS.is_dir(), reason=f"no real rows at {REAL_ROWS.name}/")
def test_prompts_of_real_rows_are_lm_evals_own(name: str, tmp_path: Path) -> None:
    assert_renders_as_lm_eval(name, REAL_ROWS, tmp_path, limit=50)


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
    assert (len(task.documents), task.available) == (12, 12)
    with opened_tasks(["piqa"], str(mirror), 5) as opened:
        [task] = opened
    assert ([document.id for document in task.documents], task.available) == ([0, 1, 2, 3, 4], 12)


def test_two_mirrors_of_the_same_names_keep_their_own_rows(mirror: Path, tmp_path: Path) -> None:
    other = write_mirror(tmp_path, {"sciq": 12}, seed=3)
    digests = set()
    for folder in (mirror, other, mirror):
        with opened_tasks(["sciq"], str(folder), None) as opened:
            [task] = opened
        digests.add(task.rows_digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["sciq", "piqua"], "'piqua'; did you mean piqa"),
        (["zebra"], "known are sciq"),
        (["sciq", "sciq"], "twice"),
        ([], "no task is named"),
    ],
)
def test_wrong_task_names_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_task_names(names)


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
