"""Data sets of a few rows as a hub holds them, in each of the layouts that are met there."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
from loopback_hub import Hub
from task_rows import REPOSITORIES, rows_of

CONVERTED = "refs/convert/parquet"


def parquet(task: str, count: int, seed: int = 0) -> bytes:
    """`count` rows of a task as a parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows_of(task, count, seed)), out)
    return out.getvalue()


def add_declared(hub: Hub, task: str, count: int = 6, head: str = "") -> str:
    """A data set whose README declares its files; the split train is there too.

    Args:
        head: more lines of the front matter.
    """
    repository, config, split = REPOSITORIES[task]
    folder = "data" if config == "default" else config
    card = (
        f"---\n{head}license: cc0-1.0\nconfigs:\n- config_name: {config}\n  data_files:\n"
        f"  - split: train\n    path: {folder}/train-*\n"
        f"  - split: {split}\n    path: {folder}/{split}-*\n---\n# A set\n"
    )
    files = {
        "README.md": card.encode(),
        f"{folder}/{split}-00000-of-00001.parquet": parquet(task, count),
        f"{folder}/train-00000-of-00001.parquet": parquet(task, 3, seed=5),
        "notes.txt": b"not needed",
    }
    return hub.add(f"datasets/{repository}", files)


def add_scripted(hub: Hub, task: str, count: int = 6, config: str | None = None) -> str:
    """A data set made by a script; its rows are on the branch of converted files alone."""
    repository, own, split = REPOSITORIES[task]
    name = repository.partition("/")[2]
    hub.add(
        f"datasets/{repository}",
        {"README.md": b"---\nlicense: other\n---\n", f"{name}.py": b"raise SystemExit\n"},
    )
    files = {
        f"{config or own}/{split}/0000.parquet": parquet(task, count),
        f"{config or own}/train/0000.parquet": parquet(task, 3, seed=5),
    }
    return hub.add(f"datasets/{repository}", files, CONVERTED)
