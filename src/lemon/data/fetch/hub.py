"""What the Hugging Face Hub has: list one pinned snapshot and bring its files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.assets import HubAsset
from lemon.data.fetch.archive import select
from lemon.data.fetch.hub_patience import Different, Wanted, endpoint, patiently
from lemon.errors import BadInput
from lemon.files.storage import inside, storage_error
from lemon.provenance import file_digest

COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWER_SECONDS = 30.0  # for a list of files
AT_ONCE = 4  # files of a snapshot
UNFINISHED = ".download"  # folder in which a file lies until it is whole and its hash is right
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubFile:
    """A file of a snapshot with what the Hub says of its content.

    Attributes:
        name: path in the repository.
        size: bytes, None where the Hub doesn't say.
        sha256: of a large file.
        blob: git's SHA-1 of a small one.
    """

    name: str
    size: int | None
    sha256: str | None
    blob: str | None

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` is this one; judged by size where the Hub gives no hash."""
        if not path.is_file() or self.size not in (None, path.stat().st_size):
            return False
        if self.sha256 is not None:
            return file_digest(path) == self.sha256
        return self.blob is None or _git_blob(path) == self.blob


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository at one commit."""

    repo: str
    repo_type: str
    commit: str
    files: dict[str, HubFile]


def wanted_asset(name: str, asset: HubAsset) -> Wanted:
    """What a `hub` asset of the configuration asks for."""
    mend = "correct it in config/assets.yaml"
    return Wanted(f"asset {name}", asset.repo, asset.repo_type, asset.revision, mend)


def snapshot(wanted: Wanted) -> Snapshot:
    """The commit that the revision stands for and the files there.

    Raises:
        NotThere: no such repository or revision.
        BadInput: no right to see it.
        WorkFailed: the Hub can't be reached, or fails at every try.
    """
    from huggingface_hub import HfApi

    def ask() -> Snapshot:
        info = HfApi(endpoint=endpoint()).repo_info(
            wanted.repo,
            revision=wanted.revision,
            repo_type=wanted.repo_type,
            timeout=ANSWER_SECONDS,
            files_metadata=True,
        )
        files = {}
        for one in getattr(info, "siblings", None) or ():
            large = one.lfs.sha256 if one.lfs else None
            blob = None if large else one.blob_id
            files[one.rfilename] = HubFile(one.rfilename, one.size, large, blob)
        return Snapshot(wanted.repo, wanted.repo_type, str(info.sha), files)

    return patiently(ask, wanted, Path())


def download(
    wanted: Wanted, found: Snapshot, names: list[str], folder: Path, at_once: int = AT_ONCE
) -> None:
    """Bring files of a snapshot under `folder`; those that are there and right are kept.

    A file has its name only once it is whole and has the hash that the Hub gives for it.

    Raises:
        BadInput: a licence must be accepted first, or the folder may not be written.
        WorkFailed: the Hub can't be reached or sends something else, or the disk is full.
    """
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    missing = [name for name in names if not found.files[name].is_at(inside(folder, name))]
    pool = ThreadPoolExecutor(at_once)
    try:
        for answer in [pool.submit(_download_one, wanted, found, one, folder) for one in missing]:
            answer.result()
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        pool.shutdown(cancel_futures=True)


def download_from_hub(name: str, asset: HubAsset, cache: Path) -> tuple[str, Path]:
    """Bring the snapshot of a `hub` asset into the cache.

    Returns:
        The commit that the revision stands for, and the folder of its files.

    Raises:
        BadInput: no such repository, revision or file, or its licence must be accepted first.
        WorkFailed: no network, or the disk is full.
    """
    wanted = wanted_asset(name, asset)
    found = snapshot(wanted)
    names = select(found.files, asset.patterns)
    if not names:
        raise BadInput(
            f"asset {name}: no file of {wanted} matches {', '.join(asset.patterns)}; correct "
            "the patterns in config/assets.yaml"
        )
    folder = inside(cache / "hub" / asset.repo_type / asset.repo, found.commit)
    download(wanted, found, names, folder)
    return found.commit, folder


def _download_one(wanted: Wanted, found: Snapshot, name: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    def bring() -> Path:
        path = Path(
            hf_hub_download(
                found.repo,
                name,
                repo_type=found.repo_type,
                revision=found.commit,
                local_dir=folder / UNFINISHED,
                endpoint=endpoint(),
            )
        )
        if not found.files[name].is_at(path):
            path.unlink()
            raise Different(name)
        return path

    log.info("fetching %s: %s", found.repo, name)
    arrived = patiently(bring, wanted, folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(arrived, folder / name)


def _git_blob(path: Path) -> str:
    """The hash under which git keeps a file."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
