"""Which tasks are scored in which job, on how many rows, and which tables ask for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import FOLDERS, TASKS, suites
from lemon.errors import BadInput

ZERO_SHOT = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")


def test_the_eleven_tasks_of_table2_are_in_two_suites_and_all_in_the_dense(laptop: Project) -> None:
    found = suites(laptop.preset.evaluation)
    assert found["ablation"].tasks == ZERO_SHOT
    assert set(found["ablation"].tasks) | set(found["main"].tasks) == set(TASKS)
    assert len(found["main"].tasks) == 6
    assert set(found["dense"].tasks) == set(TASKS)
    assert [name for name, suite in found.items() if suite.has_heldout] == ["ablation"]
    assert [name for name, suite in found.items() if suite.has_fewshot] == ["main", "dense"]


def test_limits_are_by_task_where_one_is_given(laptop: Project) -> None:
    evaluation = laptop.preset.evaluation.model_copy(update={"limits": {"mmlu": 228}})
    found = suites(evaluation)
    assert found["main"].limit_of("mmlu") == 228
    assert found["main"].limit_of("boolq") == laptop.preset.evaluation.limit == 200
    assert found["ablation"].limits == {}
    assert found["dense"].limit_of("mmlu") == 1140 == 57 * 20
    assert found["dense"].limit_of("sciq") == 1000


def test_folders_name_their_suite() -> None:
    assert FOLDERS["ablation"] == "outcomes"
    assert len(set(FOLDERS.values())) == len(FOLDERS)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("table3", ("ablation",)),
        ("table2", ("ablation", "main")),
        ("dense", ("dense",)),
        ("figure4-right", ("ablation",)),
        ("table5", ()),
    ],
)
def test_a_table_asks_for_the_suites_of_its_tasks(
    laptop: Project, table: str, expected: tuple[str, ...]
) -> None:
    assert laptop.table_suites(table) == expected


def test_a_preset_without_a_suites_tasks_says_which_it_has(laptop: Project) -> None:
    evaluation = laptop.preset.evaluation.model_copy(update={"tasks": ZERO_SHOT})
    project = replace(laptop, preset=laptop.preset.model_copy(update={"evaluation": evaluation}))
    with pytest.raises(BadInput, match="suite main, known: ablation, dense"):
        project.suite("main")


def test_fewshot_is_no_part_of_what_decides_the_zero_shot_suite(laptop: Project) -> None:
    assert "fewshot" not in stage_params(laptop, "evaluate", "cut-75")
    assert '"fewshot":"fixed"' in stage_params(laptop, "evaluate", "cut-75", "main")
