"""Report on this machine for a preset: versions, speed, free disk, cached assets, and a verdict."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from lemon.configuration.assets import Asset, PypiAsset
from lemon.configuration.given_models import default_cache
from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.machine import chosen_device, free_bytes, gpu_bytes, matmul_rate
from lemon.provenance import host, library_versions, usable_cores, without_private_parts
from lemon.work_left import BYTES, planned_bytes

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
    reasons = "; ".join(obstacles(project))
    answer = f"no, because {reasons}" if reasons else "yes"
    lines.append(f"can run {project.preset_name}: {answer}")
    return "\n".join(lines)


def obstacles(project: Project) -> Iterator[str]:
    """Why this machine can't run everything of the preset, as far as can be told beforehand."""
    for name, version in library_versions().items():
        if name in LIBRARIES and not version:
            yield f"{name} is {MISSING}"
    source = project.preset.source
    if source.kind == "folder" and source.path is not None:
        from lemon.data.text.tokenization import TextTokenizer

        try:
            TextTokenizer(Path(source.path))
        except BadInput as error:
            yield str(error)
    device = chosen_device(project.preset.compute.device)
    memory = host()["memory_bytes"] if device == "cpu" else gpu_bytes()
    if memory is None:
        yield f"the preset asks for {device}, which is not here"
    else:
        needed, run = max((least_memory(project, run), run.id) for run in project.runs.values())
        if needed > memory:
            yield (
                f"{run} takes more than {needed / 1e9:.1f} GB of memory, and {memory / 1e9:.1f} "
                f"are here ({device})"
            )
    cache = default_cache()
    missing = [project.assets[name] for name in project.needed_assets()]
    download = sum((one.megabytes or 0) * 1e6 for one in missing if not is_cached(one, cache))
    for where, folder, size in (
        ("here", Path.cwd(), planned_bytes(project)),
        ("to the cache", cache, download),
    ):
        if size > (free := free_bytes(folder)):
            yield f"{size / 1e9:.1f} GB are to be written {where}, where {free / 1e9:.1f} are free"


def least_memory(project: Project, run: PlannedRun) -> int:
    """Bytes that making a run holds at the least: its weights. Activations come on top.

    Trained weights are float32, with a gradient and the two moments of AdamW.
    """
    if run.method.pretrains:
        return 4 * BYTES["float32"] * run.target_shape.num_parameters
    if run.method.trains_weights:
        return 4 * BYTES["float32"] * run.fused_shape.num_parameters
    return BYTES[project.preset.source.dtype] * run.fused_shape.num_parameters


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
