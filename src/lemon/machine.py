"""Properties of this machine: device, rate of a matrix product, cores, free disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from lemon.errors import BadInput
from lemon.gpus import VISIBLE, lease_gpus

SIDE = 2048  # rows and columns of the matrices that are timed


def chosen_device(wanted: str) -> str:
    """The device that `auto` means on this machine; any other name is returned unchanged."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_device(wanted: str) -> str:
    """As `chosen_device`, for a process that computes there: a GPU is leased (`lemon.gpus`).

    BadInput if "cuda" or "cuda:N" is wanted, and no GPU is usable.
    """
    import torch

    if wanted != "cpu" and (os.environ.get("WORLD_SIZE", "1") == "1" or VISIBLE in os.environ):
        lease_gpus(1)  # before torch looks for GPUs; of several processes, `lemon lease` did
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"device {wanted}: torch finds no usable GPU here; choose auto or cpu")
    return chosen_device(wanted)


def own_rank(devices: int) -> int:
    """The number of this process, from 0, among those that torchrun started for `devices`.

    BadInput if another number of processes was started.
    """
    started = os.environ.get("WORLD_SIZE", "1")
    if started != str(devices):
        raise BadInput(
            f"compute.devices of the preset is {devices}, but this command was started in "
            f"{started} process(es); correct the preset, or start it by `python -m torch."
            f"distributed.run --standalone --nproc-per-node {devices} --no-python -- lemon ...`"
        )
    return int(os.environ.get("RANK", "0"))


def make_deterministic() -> None:
    """Make torch deterministic, so that a resumed run equals an uninterrupted one bit for bit."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A slow debugging aid. Set by name because torch's type stubs lack it.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010


def matmul_rate(dtype: str, device: str) -> float | None:
    """FLOP/s of a product of two 2048 x 2048 matrices, best of five; None without the device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return None
    left = torch.ones(SIDE, SIDE, dtype=getattr(torch, dtype), device=device)
    best = float("inf")
    left @ left  # a first product also loads libraries
    for _ in range(5):
        started = time.perf_counter()
        left @ left
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best


def gpu_bytes() -> int | None:
    """Memory of the first GPU; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)


def free_bytes(path: Path) -> int:
    """Free disk at a path, or at its nearest existing parent."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
