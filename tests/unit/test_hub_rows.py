"""Which files of a data set on the Hub hold a task's rows."""

from __future__ import annotations

import re

from ruamel.yaml import YAML

from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.data.mirror.hub_rows import (
    NeededRows,
    chosen,
    converted,
    declared,
    named,
    needed_rows,
    written_card,
)

NAMES = [
    "README.md",
    "data/test-00000-of-00002.parquet",
    "data/test-00001-of-00002.parquet",
    "data/train-00000-of-00001.parquet",
    "extra/deep/test-1.parquet",
]
CARD = {
    "license": "cc0-1.0",
    "configs": [
        {
            "config_name": "default",
            "data_files": [
                {"split": "test", "path": "data/test-*"},
                {"split": "train", "path": ["data/train-*", "**/test-1.parquet"]},
            ],
        }
    ],
    "dataset_info": {
        "features": [{"name": "label", "dtype": "int64"}],
        "splits": [{"name": "test", "num_examples": 3}],
    },
}


def needs(config: str, *splits: str) -> NeededRows:
    return NeededRows(["task"], {config: set(splits)})


def test_declared_files_follow_the_globs_of_the_card() -> None:
    assert declared(CARD, NAMES) == {
        "default": {
            "test": NAMES[1:3],
            "train": ["data/train-00000-of-00001.parquet", "extra/deep/test-1.parquet"],
        }
    }


def test_names_tell_config_and_split() -> None:
    assert named(["data/test-0.parquet", "main/dev.parquet", "main/dev.csv", "a/b/c.parquet"]) == {
        "default": {"test": ["data/test-0.parquet"]},
        "main": {"dev": ["main/dev.parquet"]},
    }


def test_converted_files_lie_by_config_and_split_and_partial_ones_do_not_count() -> None:
    names = [
        "logiqa/test/0000.parquet",
        "logiqa/test/0001.parquet",
        "c4/partial-train/0000.parquet",
    ]
    assert converted(names) == {"logiqa": {"test": names[:2]}}


def test_only_the_needed_splits_are_chosen() -> None:
    available = {"default": {"test": ["t.parquet"], "train": ["a.parquet"], "dev": ["d.parquet"]}}
    assert chosen(available, needs("default", "test")) == {"default": {"test": ["t.parquet"]}}
    both = {"default": {"test": ["t.parquet"], "dev": ["d.parquet"]}}
    assert chosen(available, needs("default", "test", "dev")) == both


def test_nothing_is_chosen_unless_all_is_there_as_parquet() -> None:
    assert chosen({"a": {"test": ["t.parquet"]}}, needs("a", "test", "validation")) is None
    assert chosen({"a": {"test": ["t.jsonl"]}}, needs("a", "test")) is None
    assert chosen({"a": {"test": ["t.parquet"]}}, needs("b", "test")) is None
    assert chosen({}, needs("default", "test")) is None


def test_the_only_config_counts_as_the_default_one() -> None:
    assert chosen({"plain_text": {"test": ["t.parquet"]}}, needs("default", "test")) == {
        "default": {"test": ["t.parquet"]}
    }
    two = {"one": {"test": ["t.parquet"]}, "two": {"test": ["u.parquet"]}}
    assert chosen(two, needs("default", "test")) is None


def test_one_config_a_value_stands_for_the_joint_one_or_for_every_one() -> None:
    splits = {"test": ["t.parquet"], "dev": ["d.parquet"], "validation": ["v.parquet"]}
    taken = {"test": ["t.parquet"], "dev": ["d.parquet"]}
    subjects = {"anatomy": splits, "law": splits, "auxiliary": {"train": ["x.parquet"]}}
    asked = needs("{subject}", "test", "dev")
    assert chosen(subjects, asked) == {"anatomy": taken, "law": taken}
    assert chosen({**subjects, "all": splits}, asked) == {"all": taken}
    assert chosen({"auxiliary": subjects["auxiliary"]}, asked) is None


def test_the_written_card_declares_what_is_there_and_keeps_features_and_licence() -> None:
    configs = {"default": {"test": NAMES[1:3]}}
    text = written_card("owner/name", "main", "0" * 40, configs, CARD)
    head = YAML(typ="safe").load(text.split("---")[1])
    assert declared(head, NAMES) == configs
    assert head["license"] == "cc0-1.0"
    [info] = head["dataset_info"]
    assert info == {"config_name": "default", "features": [{"name": "label", "dtype": "int64"}]}
    assert "commit " + "0" * 40 in text


def test_needs_are_read_from_the_table_of_benchmarks() -> None:
    needed = needed_rows(BENCHMARKS)
    assert needed["allenai/sciq"].splits == {"default": {"test"}}
    assert needed["allenai/ai2_arc"].tasks == ["arc_easy", "arc_challenge"]
    assert needed["allenai/ai2_arc"].splits == {
        "ARC-Easy": {"test"},
        "ARC-Challenge": {"test", "train"},
    }
    assert needed["cais/mmlu"].splits == {"{subject}": {"test", "dev"}}


def test_needs_are_the_splits_that_the_task_files_read() -> None:
    from lemon.evaluation.tasks import TASK_FILES

    keys = ("test_split", "validation_split", "training_split", "fewshot_split")
    for repository, rows in needed_rows(BENCHMARKS).items():
        read: dict[str, set[str]] = {}
        for task in rows.tasks:
            lines = (TASK_FILES / f"{task}.yaml").read_text().splitlines()
            said = dict(line.split(": ", 1) for line in lines if re.match(r"\w+: ", line))
            assert said["dataset_path"] == repository
            splits = {said[key] for key in keys if key in said}
            read.setdefault(BENCHMARKS[task].config, set()).update(splits)
        assert read == rows.splits
