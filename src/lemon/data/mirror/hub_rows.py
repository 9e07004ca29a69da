"""Which files of a data set on the Hub hold the rows of a task.

Three layouts are known: configs declared in the README's front matter, parquet files named after
their split, and the branch on which the Hub keeps every data set converted to parquet (the only
one for sets that are made by a script).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from lemon.configuration.tasks import TASKS
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.errors import BadInput

LONGEST_FRONT_MATTER = 1 << 20  # characters; a data set of many configs has 100,000
CONVERTED = "refs/convert/parquet"
Splits = dict[str, list[str]]  # files by split
Configs = dict[str, Splits]


@dataclass
class NeededRows:
    """What the tasks read of one data set: splits by config, few-shot rows where a task has any."""

    tasks: list[str]
    splits: dict[str, set[str]]

    def __str__(self) -> str:
        return "; ".join(f"{one}: {', '.join(sorted(self.splits[one]))}" for one in self.splits)


def needed_rows(tasks: Iterable[str]) -> dict[str, NeededRows]:
    """By data set, what the tasks read there.

    Raises:
        BadInput: nothing is known of a task's rows.
    """
    needed: dict[str, NeededRows] = {}
    for task in tasks:
        if task not in BENCHMARKS:
            raise BadInput(
                f"evaluation.tasks: the data set of {task} is not known, only those of "
                f"{', '.join(BENCHMARKS)}; take it out"
            )
        benchmark = BENCHMARKS[task]
        rows = needed.setdefault(benchmark.repository, NeededRows([], {}))
        rows.tasks.append(task)
        splits = rows.splits.setdefault(benchmark.config, set())
        splits.add(benchmark.split)
        if TASKS[task].shots:
            splits.add(benchmark.fewshot_split)
    return needed


def front_matter(card: str) -> dict[str, Any]:
    """The YAML block at the head of a README; empty where there is none or it can't be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    found = re.match(r"---\r?\n(.*?)\r?\n---\s*(?:\n|$)", card.removeprefix("\ufeff"), re.DOTALL)
    if found is None or len(found[1]) > LONGEST_FRONT_MATTER:
        return {}
    try:
        # Aliases may stand for more than fits in memory.
        if any(isinstance(event, AliasEvent) for event in YAML(pure=True).parse(found[1])):
            return {}
        value = YAML(typ="safe").load(found[1])
    except (YAMLError, ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def declared(card: Mapping[str, Any], names: Sequence[str]) -> Configs:
    """The files of every config and split that the front matter declares."""
    configs: Configs = {}
    for config in card.get("configs") or ():
        entries = config.get("data_files") if isinstance(config, dict) else None
        if not isinstance(entries, list):
            continue
        splits: Splits = {}
        for entry in entries:
            if isinstance(entry, dict) and "split" in entry and "path" in entry:
                paths = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
                patterns = [_pattern(str(path)) for path in paths]
                files = [name for name in names if any(one.fullmatch(name) for one in patterns)]
                splits[str(entry["split"])] = files
        configs[str(config.get("config_name", "default"))] = splits
    return configs


NAMED = re.compile(r"(?:(?P<config>[^/]+)/)?(?P<split>[a-z_]+)(?:-[^/]*)?\.parquet")


def named(names: Sequence[str]) -> Configs:
    """The configs that file names tell: `data/test-0.parquet`, `CONFIG/test-0.parquet`."""
    configs: Configs = {}
    for name in names:
        if found := NAMED.fullmatch(name):
            config = found["config"] if found["config"] not in (None, "data") else "default"
            configs.setdefault(config, {}).setdefault(found["split"], []).append(name)
    return configs


def converted(names: Sequence[str]) -> Configs:
    """The configs of the Hub's own conversion: `CONFIG/SPLIT/0000.parquet`.

    Large splits are converted in part only, under `partial-SPLIT`; those don't count.
    """
    configs: Configs = {}
    for name in names:
        if found := re.fullmatch(r"([^/]+)/(?!partial-)([^/]+)/\d+\.parquet", name):
            configs.setdefault(found[1], {}).setdefault(found[2], []).append(name)
    return configs


def chosen(available: Configs, needed: NeededRows) -> Configs | None:
    """The files of the needed configs and splits; None unless all are there, as parquet.

    A data set's only config counts as "default", whatever its name. A config with a column's name
    in braces, one config a value, stands for the one named "all" that holds them together, else
    for every config with the needed splits.
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
    """The configs that a name stands for, by the name under which they are mirrored."""
    if "{" in config:
        whole = {name: splits for name, splits in available.items() if wanted <= set(splits)}
        return {"all": whole["all"]} if "all" in whole else whole
    if config in available:
        return {config: available[config]}
    if config == "default" and len(available) == 1:
        return {config: next(iter(available.values()))}
    return {}


def file_names(configs: Configs) -> list[str]:
    """Every file, once, sorted."""
    return sorted(
        {name for splits in configs.values() for files in splits.values() for name in files}
    )


def written_card(
    repository: str, revision: str, commit: str, configs: Configs, card: Mapping[str, Any]
) -> str:
    """The README of a mirrored data set: it declares the files that are here, and no others."""
    from ruamel.yaml import YAML

    features = {
        str(info.get("config_name", "default")): info["features"]
        for info in _listed(card.get("dataset_info"))
        if isinstance(info, dict) and "features" in info
    }
    if len(features) == 1 and list(configs) == ["default"]:
        features = {"default": next(iter(features.values()))}
    head: dict[str, Any] = {"license": card["license"]} if "license" in card else {}
    described = [
        {"config_name": config, "features": features[config]}
        for config in configs
        if config in features
    ]
    if described:
        head["dataset_info"] = described
    head["configs"] = [
        {
            "config_name": config,
            "data_files": [
                {"split": split, "path": files if len(files) > 1 else files[0]}
                for split, files in splits.items()
            ],
        }
        for config, splits in configs.items()
    ]
    text = StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(head, text)
    return (
        f"---\n{text.getvalue()}---\n\n# {repository}\n\nFiles of this data set on the Hub, "
        f"revision {revision}, commit {commit}; only\nthe splits that were asked for.\n"
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _pattern(path: str) -> re.Pattern[str]:
    """A glob of the front matter: `*` stays in its folder, `**` doesn't."""
    parts = re.split(r"(\*\*/?|\*|\?)", path.removeprefix("./"))
    written = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(written.get(part, re.escape(part)) for part in parts))
