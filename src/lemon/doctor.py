"""What this machine offers a preset: versions, speed, disk, and which assets are there."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lemon.configuration.assets import Asset, PypiAsset
from lemon.configuration.project import Project
from lemon.data.fetch.assets import default_cache
from lemon.machine import chosen_device, free_bytes, matmul_rate, usable_cores

LIBRARIES = ("torch", "transformers", "datasets", "lm-eval", "mlflow", "snakemake", "safetensors")


def report(project: Project) -> str:
    """The state of this machine for a preset, one fact a line."""
    cache = default_cache()
    device = chosen_device(project.preset.compute.device)
    lines = [
        f"python       {platform.python_version()} on {platform.platform()}",
        *(f"{name:<12} {_version(name)}" for name in LIBRARIES),
        f"cores        {usable_cores()} usable, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}",
        f"device       {device}",
        *(f"{dtype:<12} {_speed(dtype, device)}" for dtype in ("bfloat16", "float32")),
        f"free disk    {free_bytes(Path.cwd()) / 1e9:.1f} GB here, "
        f"{free_bytes(cache) / 1e9:.1f} GB in the cache {_home_as_tilde(cache)}",
        f"preset       {project.preset_name}: {project.preset.description}",
    ]
    for name in project.needed_assets():
        asset = project.assets[name]
        state = "in the cache" if is_cached(asset, cache) else "not fetched"
        size = f", {asset.megabytes} MB" if asset.megabytes else ""
        lines.append(f"asset        {name}: {state}{size}")
    return "\n".join(lines)


def is_cached(asset: Asset, cache: Path) -> bool:
    """Whether an asset lies in the cache; its hash is checked by `lemon fetch`."""
    if isinstance(asset, PypiAsset):
        folder = cache / asset.sha256
    else:
        folder = cache / "hub" / asset.repo_type / asset.repo
    return folder.is_dir() and any(folder.iterdir())


def _speed(dtype: str, device: str) -> str:
    rate = matmul_rate(dtype, device)
    if rate is None:
        return f"not measured: the preset asks for {device}, which is not here"
    return f"{rate / 1e9:,.0f} GFLOP/s (2048 x 2048 x 2048 matrix product)"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed; `make` installs it"


def _home_as_tilde(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
