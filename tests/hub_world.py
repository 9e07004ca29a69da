"""Data sets of a few rows as a hub holds them, in each of the layouts that are met there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from loopback_hub import Files, Hub
from task_rows import FEWSHOT_FROM, FEWSHOT_ROWS, REPOSITORIES, rows_of

from lemon.configuration.assets import HubAsset
from lemon.data.mirror.make import make_mirror

CONVERTED = "refs/convert/parquet"
MODEL = "models/owner/small"
WEIGHTS = bytes(range(256)) * 40


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def splits_of(task: str, count: int) -> tuple[str, dict[str, bytes]]:
    """The config of a task's rows, and its files by split; MMLU's subjects are together."""
    _, config, scored = REPOSITORIES[task]
    fewshot = rows_of(task, FEWSHOT_ROWS, first=FEWSHOT_FROM)
    return config or "all", {
        scored: parquet(rows_of(task, count)),
        "train" if config else "dev": parquet(fewshot),
    }


def add_declared(hub: Hub, task: str, count: int = 6, head: str = "") -> str:
    """A task's data set, other tasks' configs included, whose README declares its files.

    Args:
        head: more lines of the front matter.
    """
    repository = REPOSITORIES[task][0]
    lines = ["---", *head.splitlines(), "license: cc0-1.0", "configs:"]
    files: Files = {"notes.txt": b"not needed"}
    for other in REPOSITORIES:
        if REPOSITORIES[other][0] == repository:
            config, splits = splits_of(other, count)
            folder = "data" if config == "default" else config
            lines += [f"- config_name: {config}", "  data_files:"]
            for split, content in splits.items():
                lines += [f"  - split: {split}", f"    path: {folder}/{split}-*"]
                files[f"{folder}/{split}-00000-of-00001.parquet"] = content
    files["README.md"] = "\n".join([*lines, "---", "# A set", ""]).encode()
    return hub.add(f"datasets/{repository}", files)


def add_scripted(hub: Hub, task: str, count: int = 6) -> str:
    """A data set made by a script; its rows are on the branch of converted files alone."""
    repository = REPOSITORIES[task][0]
    name = repository.partition("/")[2]
    hub.add(
        f"datasets/{repository}",
        {"README.md": b"---\nlicense: other\n---\n", f"{name}.py": b"raise SystemExit\n"},
    )
    config, splits = splits_of(task, count)
    files = {f"{config}/{split}/0000.parquet": content for split, content in splits.items()}
    return hub.add(f"datasets/{repository}", files, CONVERTED)


def add_model(hub: Hub) -> str:
    """The repository of ASSETS."""
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "x.bin": b"no"}
    return hub.add(MODEL, files)


def hub_asset(**changes: object) -> HubAsset:
    """The asset of a small model, with some settings changed."""
    asset = HubAsset(
        kind="hub",
        repo="owner/small",
        revision="main",
        repo_type="model",
        patterns=("*.json", "*.safetensors"),
        licence="CC0",
        what="a model",
    )
    return asset.model_copy(update=changes)


ASSETS = {"model": hub_asset()}


def mirror(folder: Path, *tasks: str, assets: bool = True) -> None:
    """Mirror tasks, and the model unless told otherwise."""
    make_mirror(ASSETS, ["model"] if assets else [], tasks, folder)


def visible(folder: Path) -> list[str]:
    """Every file that isn't hidden, nor in a hidden folder."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))
