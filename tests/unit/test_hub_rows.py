"""Which files of a data set on the Hub hold a task's rows."""

from __future__ import annotations

from lemon.data.hub_rows import (
    NeededRows,
    chosen,
    converted,
    declared,
    front_matter,
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
CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: test
    path: data/test-*
  - split: train
    path: ["data/train-*", "**/test-1.parquet"]
dataset_info:
  features:
  - name: label
    dtype: int64
  splits:
  - name: test
    num_examples: 3
---
# Words
"""


def needs(config: str, *splits: str, fewshot: bool = False) -> NeededRows:
    return NeededRows(["task"], {config: set(splits)}, {config} if fewshot else set())


def test_declared_files_follow_the_globs_of_the_front_matter() -> None:
    assert declared(front_matter(CARD), NAMES) == {
        "default": {
            "test": NAMES[1:3],
            "train": ["data/train-00000-of-00001.parquet", "extra/deep/test-1.parquet"],
        }
    }


def test_without_front_matter_names_tell_config_and_split() -> None:
    assert front_matter("# no block\n") == {}
    assert front_matter("---\n: [\n---\n") == {}
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
    shots = chosen(available, needs("default", "test", fewshot=True))
    assert shots == {"default": {"test": ["t.parquet"], "train": ["a.parquet"]}}
    del available["default"]["train"]
    shots = chosen(available, needs("default", "test", fewshot=True))
    assert shots == {"default": {"test": ["t.parquet"], "dev": ["d.parquet"]}}


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
    asked = needs("{subject}", "test", fewshot=True)
    assert chosen(subjects, asked) == {"anatomy": taken, "law": taken}
    assert chosen({**subjects, "all": splits}, asked) == {"all": taken}
    assert chosen({"auxiliary": subjects["auxiliary"]}, asked) is None


def test_the_written_card_declares_what_is_there_and_keeps_features_and_licence() -> None:
    configs = {"default": {"test": NAMES[1:3]}}
    text = written_card("owner/name", "main", "0" * 40, configs, front_matter(CARD))
    head = front_matter(text)
    assert declared(head, NAMES) == configs
    assert head["license"] == "cc0-1.0"
    [info] = head["dataset_info"]
    assert info == {"config_name": "default", "features": [{"name": "label", "dtype": "int64"}]}
    assert "commit " + "0" * 40 in text


def test_needs_are_read_from_the_table_of_benchmarks() -> None:
    from lemon.data.benchmark_rows import BENCHMARKS

    for repository, rows in needed_rows(BENCHMARKS).items():
        for task in rows.tasks:
            benchmark = BENCHMARKS[task]
            assert benchmark.repository == repository
            assert benchmark.split in rows.scored[benchmark.config]
