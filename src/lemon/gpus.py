"""Leases of the GPUs of this machine: a job has its own, and waits where all are taken.

A lease is a lock on a file for each GPU, which the kernel drops with the last process that holds
it, however it ends. Whoever looks for GPUs holds one more lock, the queue, so that jobs get theirs
in turn: one that wants several collects them while the others wait, and none waits for another that
waits. Where CUDA_VISIBLE_DEVICES is set, as by Slurm or by a lease, it is kept.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lemon.errors import BadInput
from lemon.progress import say

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEASES = "LEMON_GPU_LEASES"  # the folder of the locks, for the processes of a job
QUEUE = "queue"
LOOK_EVERY_S = 1.0


def gpus_here() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip()]
    return said_of_gpus("index")


def said_of_gpus(what: str) -> list[str]:
    """A property of each GPU of this machine, in nvidia-smi's name for it; none without GPUs."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def lease_gpus(count: int) -> None:
    """Let this process, and what it starts or becomes, use `count` GPUs that no other job has.

    Waits until there are as many. Does nothing where CUDA_VISIBLE_DEVICES is set, or without GPUs.
    BadInput if this machine has fewer GPUs.
    """
    if VISIBLE in os.environ:
        _share(os.environ.get(LEASES), gpus_here())
        return
    gpus = gpus_here()
    if not gpus:
        return
    if len(gpus) < count:
        raise BadInput(f"{count} GPUs are asked for, and this machine has {len(gpus)}")
    folder = Path(tempfile.gettempdir(), f"lemon-gpus-{os.getuid()}")
    os.environ[VISIBLE] = ",".join(take(folder, gpus, count))
    os.environ[LEASES] = str(folder)


def take(
    folder: Path,
    gpus: Sequence[str],
    count: int,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Lock `count` of these GPUs in a folder as soon as they are free, for as long as this lives.

    `wait` is called with the seconds between two looks.
    """
    folder.mkdir(exist_ok=True)
    queue = _opened(folder / QUEUE)
    fcntl.flock(queue, fcntl.LOCK_EX)
    taken: dict[str, int] = {}
    told = False
    while True:
        for name in gpus:
            if len(taken) < count and name not in taken:
                lock = _opened(folder / _file_of(name))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(lock)
                else:
                    taken[name] = lock
        if len(taken) == count:
            break
        if not told:
            say(f"waits for {count} GPU(s): {len(taken)} are free of {len(gpus)}")
            told = True
        wait(LOOK_EVERY_S)
    for lock in taken.values():
        fcntl.flock(lock, fcntl.LOCK_SH)  # whom this process starts may hold it too
        os.set_inheritable(lock, True)
    os.close(queue)
    return [name for name in gpus if name in taken]


def _share(folder: str | None, gpus: Sequence[str]) -> None:
    """Hold what the process that started this one has leased, in case that dies first."""
    for name in gpus if folder else ():
        fcntl.flock(_opened(Path(str(folder), _file_of(name))), fcntl.LOCK_SH | fcntl.LOCK_NB)


def _opened(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)


def _file_of(gpu: str) -> str:
    return f"{gpu.replace('/', '-')}.lock"
