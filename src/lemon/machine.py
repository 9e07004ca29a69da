"""What this machine can do: the rate of a matrix product, its number formats, its free disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

SIDE = 2048  # of the square matrices that are timed


def matmul_rate(dtype: str, device: str) -> float | None:
    """FLOP/s of a 2048^3 matrix product, the best of five; None where the device isn't there.

    Args:
        dtype: "bfloat16" or "float32".
        device: "cpu" or "cuda".
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return None
    left = torch.ones(SIDE, SIDE, dtype=getattr(torch, dtype), device=device)
    best = float("inf")
    for _ in range(6):  # the first one warms up and is never the best
        started = time.perf_counter()
        left @ left
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best


def chosen_device(device: str) -> str:
    """The device that `auto` stands for here."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_bytes(path: Path) -> int:
    """Free disk at a path, or at its nearest parent that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
