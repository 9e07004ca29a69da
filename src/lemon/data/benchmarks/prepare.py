"""Write benchmark rows in the Hub's layout: `<owner>/<name>/` with parquet files and a README.

`datasets.load_dataset(folder, config)` opens each data set without a network. File names contain
part of the content's hash, since `datasets` caches by name.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from lemon.configuration.preset import Preset
from lemon.configuration.tasks import TASKS
from lemon.data.benchmarks.card import Configs, front_matter
from lemon.data.benchmarks.question_readers import Row, Rows
from lemon.data.benchmarks.rows import BENCHMARKS, Benchmark
from lemon.data.fetch.assets import Lock, open_asset
from lemon.data.synthetic import generated_rows
from lemon.data.text.order import keyed_permutation
from lemon.files.manifest import files_below, write_manifest
from lemon.files.ownership import replaced_folder
from lemon.provenance import file_digest

FEWSHOT_ROWS = 64  # set aside if no other split is packaged
ROW_SEED = 1234  # for shuffling the scored rows, so that the first N are a random sample
log = logging.getLogger(__name__)


def prepare_tasks(
    preset: Preset, *, lock: Lock, cache: Path, out: Path, owner: str = "tasks"
) -> None:
    """Write the rows of the preset's tasks under `out`, and the manifest last.

    With `evaluation.source: hub` or a mirror folder, only the manifest is written.

    Raises:
        BadInput: the asset of a task is missing or has an unknown format.
    """
    started = time.monotonic()
    tasks, source = preset.evaluation.tasks, preset.evaluation.source
    generated = source == "generated"
    prepared: dict[str, dict[str, Any]] = {}
    with replaced_folder(out, owner) as temporary:
        for task in tasks if preset.evaluation.prepares_rows else ():
            benchmark = BENCHMARKS[task]
            if generated:
                rows = generated_rows(task, preset.seed)
            else:
                rows = benchmark.read(open_asset(lock, TASKS[task].asset, cache))
            splits = _write_configs(temporary / benchmark.repository, task, benchmark, rows)
            prepared[task] = {
                "repository": benchmark.repository,
                "config": benchmark.config,
                "scored_split": benchmark.split,
                "splits": splits,
                "origin": "generated" if generated else benchmark.origin,
                "licence": "Apache-2.0" if generated else benchmark.licence,
                "departures": "generated rows" if generated else benchmark.departures,
            }
            log.info("%s: %d rows", task, sum(split["rows"] for split in splits.values()))
        for repository in {entry["repository"] for entry in prepared.values()}:
            _write_card(temporary / repository, repository, prepared)
        assets = sorted({TASKS[task].asset for task in prepared} if not generated else ())
        write_manifest(
            temporary / "manifest.json",
            "tasks",
            files=files_below(temporary),
            owner=owner,
            settings={"tasks": list(tasks), "source": source, "row_seed": ROW_SEED},
            inputs={asset: lock[asset].sha256 for asset in assets},
            seed=preset.seed if generated else ROW_SEED,
            started=started,
            tasks=prepared,
        )


def _write_configs(
    folder: Path, task: str, benchmark: Benchmark, rows: Rows
) -> dict[str, dict[str, Any]]:
    """Write the rows by config; returns the written files by split or "config/split"."""
    scored, fewshot = (_grouped(benchmark.config.format_map, part or ()) for part in rows)
    written: dict[str, dict[str, Any]] = {}
    for config, members in scored.items():
        single = config == benchmark.config
        aside = None if rows[1] is None else fewshot.get(config, [])
        dealt = deal_rows(task if single else f"{task}/{config}", benchmark, members, aside)
        splits = _write_splits(folder, benchmark, config, dealt)
        written |= {split if single else f"{config}/{split}": splits[split] for split in splits}
    return written


def _grouped(key: Callable[[Row], str], rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def deal_rows(
    task: str, benchmark: Benchmark, scored: Sequence[Row], fewshot: Sequence[Row] | None
) -> dict[str, list[Row]]:
    """The shuffled rows of the scored split, and those of the few-shot split, if any.

    Repeated scored rows are dropped, and few-shot rows that share a group with a scored row. If
    `fewshot` is None, whole groups of scored rows are set aside until there are FEWSHOT_ROWS rows.
    """
    rows = list({json.dumps(row, sort_keys=True): row for row in scored}.values())
    order = keyed_permutation(len(rows), "rows", ROW_SEED, task)
    shuffled = [rows[place] for place in order]
    groups = _grouped(benchmark.group, shuffled)
    if fewshot is not None:
        apart = [row for row in fewshot if benchmark.group(row) not in groups]
        return {benchmark.split: shuffled} | ({benchmark.fewshot_split: apart} if apart else {})
    aside: list[Row] = []
    while len(aside) < FEWSHOT_ROWS and groups:
        aside += groups.popitem()[1]
    return {
        benchmark.split: [row for row in shuffled if benchmark.group(row) in groups],
        benchmark.fewshot_split: aside,
    }


def _write_splits(
    folder: Path, benchmark: Benchmark, config: str, splits: Mapping[str, list[Row]]
) -> dict[str, dict[str, Any]]:
    """Write one parquet file per split; returns its path in the data set, rows and digests."""
    import pyarrow
    import pyarrow.parquet

    schema = _features(benchmark.columns).arrow_schema
    subfolder = "data" if config == "default" else config
    (folder / subfolder).mkdir(parents=True, exist_ok=True)
    written = {}
    for split, rows in splits.items():
        unnamed = folder / subfolder / f"{split}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), unnamed)
        digest = file_digest(unnamed)
        named = unnamed.rename(unnamed.with_name(f"{split}-{digest[:8]}.parquet"))
        content = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        written[split] = {
            "file": named.relative_to(folder).as_posix(),
            "rows": len(rows),
            "sha256": digest,
            "rows_sha256": sha256(content.encode()).hexdigest(),
        }
    return written


def _features(columns: Mapping[str, Any]) -> Any:
    """The columns as a `datasets.Features`."""
    from datasets import ClassLabel, Features, List, Value

    def feature(column: Any) -> Any:
        match column:
            case str():
                return Value(column)
            case tuple():
                return ClassLabel(names=list(column))
            case [element]:
                return List(feature(element))
            case _:
                return {name: feature(field) for name, field in column.items()}

    return Features(feature(columns))


def _write_card(folder: Path, repository: str, prepared: Mapping[str, dict[str, Any]]) -> None:
    """Write the README that declares the files of a data set and says where its rows are from."""
    tasks = {task: entry for task, entry in prepared.items() if entry["repository"] == repository}
    configs: Configs = {}
    for entry in tasks.values():
        for name, file in entry["splits"].items():
            config, _, split = name.rpartition("/")
            configs.setdefault(config or entry["config"], {})[split] = [file["file"]]
    generated = all(entry["origin"] == "generated" for entry in tasks.values())
    lines = [front_matter(configs, generated=generated or None), f"# {repository}", ""]
    for task, entry in tasks.items():
        lines += [
            f"Rows for the lm-eval task {task}, not the Hub's own copy.",
            "",
            f"- Rows: {entry['origin']}",
            f"- Licence: {entry['licence']}",
            f"- Departures from the Hub's set: {entry['departures']}",
            "",
        ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
