"""Provenance of a result, for its manifest: code, machine, software, memory.

It contains no environment variable except OMP_NUM_THREADS and the numbers of the GPUs, no
credential, and no path of the user's home.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lemon.redaction import without_secrets

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "safetensors", "gguf", "lm_eval", "datasets"),
    *("numpy", "scipy", "pandas", "pyarrow", "mlflow", "snakemake", "lemon-reproduction"),
)


def file_digest(path: Path) -> str:
    """The sha256 of a file in hex; the file is not read into memory whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_private_parts(value: Any) -> Any:
    """Make paths in the working folder or checkout relative, write home as `~`, remove secrets.

    Applies to all strings in lists and dicts; `https://user:token@host` becomes `https://host`.
    """
    if isinstance(value, dict):
        return {without_private_parts(key): without_private_parts(v) for key, v in value.items()}
    if isinstance(value, list):
        return [without_private_parts(item) for item in value]
    if not isinstance(value, str):
        return value
    text = without_secrets(value)
    folders = [(os.getcwd(), "."), (str(checkout() or ""), "."), (str(Path.home()), "~")]
    for folder, short in folders:
        if len(folder) > 1:
            if short == ".":
                text = re.sub(re.escape(folder) + r"/(?=[^/\s])", "", text)
            text = re.sub(re.escape(folder) + r"(?![\w.-])", short, text)
    return text


@cache
def checkout() -> Path | None:
    """The git checkout of the running code; None outside of one.

    For an installed package, the checkout of the working folder if that is this project.
    """
    for folder in (Path(__file__).parent, Path.cwd()):
        top = _git(folder, "rev-parse", "--show-toplevel")
        if top and (Path(top.strip()) / "src" / "lemon" / "provenance.py").is_file():
            return Path(top.strip())
    return None


def code_state() -> dict[str, str | None]:
    """Commit, digest of the uncommitted changes (None if clean) and digest of the lock file.

    Changes under `results/` are outputs and are ignored. All are None outside of a checkout.
    """
    top = checkout()
    if top is None:
        return {"commit": None, "dirty": None, "lock": None}
    lock = top / "requirements.lock"
    commit = _git(top, "rev-parse", "--verify", "--quiet", "HEAD")
    return {
        "commit": commit.strip() if commit else None,
        "dirty": _dirty_digest(top),
        "lock": file_digest(lock) if lock.is_file() else None,
    }


def _dirty_digest(top: Path) -> str | None:
    """The sha256 over tracked changes and untracked files; None if there are none."""
    paths = ("--", ".", ":(exclude)results")
    changes = _git(top, "diff", "HEAD", "--binary", *paths) or ""
    names = _git(top, "ls-files", "--others", "--exclude-standard", "-z", *paths) or ""
    untracked = sorted(name for name in names.split("\0") if name and (top / name).is_file())
    if not changes and not untracked:
        return None
    digest = hashlib.sha256(changes.encode("utf-8", "surrogateescape"))
    for name in untracked:
        digest.update(f"{name}\0{file_digest(top / name)}\n".encode())
    return digest.hexdigest()


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git; None without git or a checkout, or if git fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape")


def host() -> dict[str, Any]:
    """Platform, processor, cores that this process may use, bytes of memory; no host name."""
    model = _found_in("/proc/cpuinfo", r"^model name\s*:\s*(.+)$")
    return {
        "platform": f"{platform.system()} {platform.release().partition('-')[0]}",
        "machine": platform.machine(),
        "cpu": model or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def usable_cores() -> int | None:
    """The cores that this process may use; None if unknown."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _found_in(file: str, pattern: str) -> str | None:
    """What a pattern captures in a file of the Linux kernel; None on other systems."""
    path = Path(file)
    text = path.read_text(errors="replace") if path.is_file() else ""
    found = re.search(pattern, text, re.M)
    return found[1].strip() if found else None


def threads() -> dict[str, Any]:
    """OMP_NUM_THREADS, and torch's number of threads if torch is already imported."""
    torch = sys.modules.get("torch")
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "torch": torch.get_num_threads() if torch else None,
    }


def device() -> str:
    """The GPU that torch has used in this process, else "cpu"; does not import torch."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "cpu"


def gpus() -> dict[str, Any] | None:
    """The numbers of the GPUs that this process may use, and the most bytes of its tensors there.

    None where it used none. A GPU that is not named by its number is left out.
    """
    torch = sys.modules.get("torch")
    if not torch or not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return {
        "numbers": [int(name) for name in named if name.strip().isdecimal()],
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


@cache
def library_versions() -> dict[str, str | None]:
    """Versions of the libraries that can affect results; None if not installed."""
    found: dict[str, str | None] = dict.fromkeys(LIBRARIES)
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def computation_key(device_type: str, **depends_on: Any) -> str:
    """The name of what is kept of a computation; equal only where the result must be equal.

    It depends on the program, its libraries, the number of threads and the kind of GPU too.

    Args:
        device_type: "cpu", or "cuda" for torch's current GPU.
        depends_on: all else that decides the result, as JSON can say it.
    """
    program, torch = hashlib.sha256(), sys.modules["torch"]
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        program.update(file.read_bytes())
    every = {
        "depends_on": depends_on,
        "program": program.hexdigest(),
        "libraries": library_versions(),
        "threads": torch.get_num_threads(),
        "device": device_type,
        "gpu": torch.cuda.get_device_name() if device_type == "cuda" else None,
    }
    return hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()[:16]


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far.

    On Linux `ru_maxrss` keeps the parent's peak across fork and exec; `VmHWM` starts at zero and is
    preferred if it exists.
    """
    peak = _found_in("/proc/self/status", r"^VmHWM:\s*(\d+) kB$")
    return int(peak) * 1024 if peak else resident_peak(resource.RUSAGE_SELF)


def resident_peak(who: int) -> int:
    """The largest resident memory so far, in bytes, of `resource.RUSAGE_SELF` or `_CHILDREN`."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit
