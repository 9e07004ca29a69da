"""Report on this machine for a preset: versions, speed, free disk, cached assets."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from lemon.configuration.assets import Asset, PypiAsset
from lemon.configuration.given_models import default_cache
from lemon.configuration.project import Project
from lemon.machine import chosen_device, free_bytes, matmul_rate
from lemon.provenance import library_versions, usable_cores, without_private_parts

LIBRARIES = ("torch", "transformers", "datasets", "lm_eval", "mlflow", "snakemake", "safetensors")
MISSING = "not installed; `make` installs it"


def report(project: Project) -> str:
    """The report as text, one fact per line."""
    cache = default_cache()
    versions = library_versions()
    device = chosen_device(project.preset.compute.device)
    lines = [
        f"python       {platform.python_version()} on {platform.platform()}",
        *(f"{name:<12} {versions[name] or MISSING}" for name in LIBRARIES),
        f"cores        {usable_cores()} usable, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}",
        f"device       {device}",
        *(f"{dtype:<12} {_speed(dtype, device)}" for dtype in ("bfloat16", "float32")),
        f"free disk    {free_bytes(Path.cwd()) / 1e9:.1f} GB here, "
        f"{free_bytes(cache) / 1e9:.1f} GB in the cache {without_private_parts(str(cache))}",
        f"preset       {project.preset_name}: {project.preset.description}",
    ]
    for name in project.needed_assets():
        asset = project.assets[name]
        state = "in the cache" if is_cached(asset, cache) else "not fetched"
        size = f", {asset.megabytes} MB" if asset.megabytes else ""
        lines.append(f"asset        {name}: {state}{size}")
    return "\n".join(lines)


def is_cached(asset: Asset, cache: Path) -> bool:
    """Whether an asset is in the cache. Its hash is not checked here; `lemon fetch` does that."""
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
