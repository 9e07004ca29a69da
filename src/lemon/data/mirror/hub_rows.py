"""Find the files of a data set on the Hub that hold the rows of a task.

Three layouts are known: configs declared in the data set's card, parquet files named after their
split, and the branch with the Hub's own conversion to parquet (the only layout for data sets made
by a script).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lemon.configuration.tasks import TASKS
from lemon.data.benchmarks.card import Configs, front_matter
from lemon.data.benchmarks.rows import BENCHMARKS

CONVERTED = "refs/convert/parquet"


@dataclass
class NeededRows:
    """What tasks need of one data set: splits by config, with few-shot splits if a task has any."""

    tasks: list[str]
    splits: dict[str, set[str]]

    def __str__(self) -> str:
        return "; ".join(f"{one}: {', '.join(sorted(self.splits[one]))}" for one in self.splits)

    def joined(self, before: Configs) -> NeededRows:
        """These needs joined with what an earlier call mirrored."""
        configs = [*before, *(name for name in self.splits if name not in before)]
        return NeededRows(
            self.tasks,
            {name: {*before.get(name, ()), *self.splits.get(name, ())} for name in configs},
        )


def needed_rows(tasks: Iterable[str]) -> dict[str, NeededRows]:
    """What the tasks need, by data set."""
    needed: dict[str, NeededRows] = {}
    for task in tasks:
        benchmark = BENCHMARKS[task]
        rows = needed.setdefault(benchmark.repository, NeededRows([], {}))
        rows.tasks.append(task)
        splits = rows.splits.setdefault(benchmark.config, set())
        splits.add(benchmark.split)
        if TASKS[task].shots:
            splits.add(benchmark.fewshot_split)
    return needed


def declared(card: Mapping[str, Any], names: Sequence[str]) -> Configs:
    """The files of every config and split that a data set's card declares."""
    configs: Configs = {}
    for config in card.get("configs") or ():
        entries = config.get("data_files") if isinstance(config, dict) else None
        if not isinstance(entries, list):
            continue
        splits = configs[str(config.get("config_name", "default"))] = {}
        for entry in entries:
            if isinstance(entry, dict) and "split" in entry and "path" in entry:
                patterns = [_pattern(str(path)) for path in _listed(entry["path"])]
                splits[str(entry["split"])] = [
                    name for name in names if any(one.fullmatch(name) for one in patterns)
                ]
    return configs


def named(names: Sequence[str]) -> Configs:
    """The configs given by file names: `data/test-0.parquet`, `CONFIG/test-0.parquet`."""
    form = r"(?:data/|(?P<config>[^/]+)/)?(?P<split>[a-z_]+)(?:-[^/]*)?\.parquet"
    return _by_name(form, names)


def converted(names: Sequence[str]) -> Configs:
    """The configs of the Hub's own conversion: `CONFIG/SPLIT/0000.parquet`.

    Large splits that are only partly converted, `partial-SPLIT`, are left out.
    """
    return _by_name(r"(?P<config>[^/]+)/(?P<split>(?!partial-)[^/]+)/\d+\.parquet", names)


def _by_name(form: str, names: Sequence[str]) -> Configs:
    configs: Configs = {}
    for name in names:
        if found := re.fullmatch(form, name):
            splits = configs.setdefault(found["config"] or "default", {})
            splits.setdefault(found["split"], []).append(name)
    return configs


def chosen(available: Configs, needed: NeededRows) -> Configs | None:
    """The files of the needed configs and splits; None unless all exist as parquet.

    A data set's only config counts as "default". A config with a column's name in braces (one
    config per value) means the config "all" if there is one, else every config with the needed
    splits.
    """
    result: Configs = {}
    for config, wanted in needed.splits.items():
        meant = _meant(available, config, wanted)
        if not meant:
            return None
        for name, splits in meant.items():
            for split in sorted(wanted):
                files = splits.get(split, [])
                if not files or not all(file.endswith(".parquet") for file in files):
                    return None
                result.setdefault(name, {})[split] = files
    return result


def _meant(available: Configs, config: str, wanted: set[str]) -> Configs:
    """The configs meant by a name, by the name under which they are mirrored."""
    if "{" in config:
        whole = {name: splits for name, splits in available.items() if wanted <= set(splits)}
        return {"all": whole["all"]} if "all" in whole else whole
    if config in available:
        return {config: available[config]}
    if config == "default" and len(available) == 1:
        return {config: next(iter(available.values()))}
    return {}


def file_names(configs: Configs) -> list[str]:
    """All files, sorted, without repeats."""
    lists = (files for splits in configs.values() for files in splits.values())
    return sorted(set().union(*lists))


def written_card(
    repository: str, revision: str, commit: str, configs: Configs, card: Mapping[str, Any]
) -> str:
    """The README of a mirrored data set, which declares only the mirrored files."""
    features = {
        str(info.get("config_name", "default")): info["features"]
        for info in _listed(card.get("dataset_info"))
        if isinstance(info, dict) and "features" in info
    }
    if len(features) == 1 and list(configs) == ["default"]:
        features = {"default": features.popitem()[1]}
    described = [
        {"config_name": config, "features": features[config]}
        for config in configs
        if config in features
    ]
    head = front_matter(configs, license=card.get("license"), dataset_info=described or None)
    return (
        f"{head}\n# {repository}\n\nFiles of this data set on the Hub, "
        f"revision {revision}, commit {commit}; only\nthe splits that were asked for.\n"
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _pattern(path: str) -> re.Pattern[str]:
    """The regular expression of a glob in the front matter; only `**` matches `/`."""
    parts = re.split(r"(\*\*/?|\*|\?)", path.removeprefix("./"))
    written = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(written.get(part, re.escape(part)) for part in parts))
