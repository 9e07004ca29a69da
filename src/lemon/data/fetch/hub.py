"""Download files of a Hugging Face Hub repository at one commit, and check their hashes."""

from __future__ import annotations

import glob
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemon.configuration.assets import HubAsset
from lemon.data.fetch.archive import select
from lemon.data.fetch.hub_retry import Damaged, Wanted, endpoint, with_retries
from lemon.errors import BadInput
from lemon.files.storage import inside

COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWER_SECONDS = 30.0  # for a list of files
WORKERS = 4  # files downloaded at once
HUB_STATE = ".cache"  # folder of the Hub client's unfinished files


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit."""

    wanted: Wanted
    commit: str  # of the requested revision
    names: list[str]  # its files, sorted
    card: dict[str, Any]  # front matter of its README, parsed by the Hub; may be empty


def wanted_asset(name: str, asset: HubAsset) -> Wanted:
    """The request for a `hub` asset of the configuration."""
    fix = "correct it in config/assets.yaml"
    return Wanted(f"asset {name}", asset.repo, asset.repo_type, asset.revision, fix)


def find_snapshot(wanted: Wanted) -> Snapshot:
    """Ask the Hub for the commit of a revision and its files' names; raises as `with_retries`."""
    from huggingface_hub import HfApi

    def ask() -> Snapshot:
        info = HfApi(endpoint=endpoint()).repo_info(
            wanted.repo,
            revision=wanted.revision,
            repo_type=wanted.repo_type,
            timeout=ANSWER_SECONDS,
        )
        names = sorted(file.rfilename for file in getattr(info, "siblings", None) or ())
        card = getattr(info, "card_data", None)
        return Snapshot(wanted, str(info.sha), names, card.to_dict() if card else {})

    return with_retries(ask, wanted, Path())


def download(snapshot: Snapshot, names: list[str], folder: Path) -> None:
    """Download files of a snapshot into `folder`; intact files already there are kept.

    A file gets its name when complete, and is removed if its hash differs from the Hub's. Raises as
    `with_retries`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    wanted = snapshot.wanted
    for name in names:
        inside(folder, name)

    def bring() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if missing := _missing(snapshot, names, folder):
            snapshot_download(
                wanted.repo,
                repo_type=wanted.repo_type,
                revision=snapshot.commit,
                local_dir=folder,
                allow_patterns=[glob.escape(name) for name in missing],
                max_workers=WORKERS,
                endpoint=endpoint(),
            )
            if damaged := _missing(snapshot, names, folder):
                raise Damaged(damaged[0])
        shutil.rmtree(folder / HUB_STATE, ignore_errors=True)

    disable_progress_bars()
    with_retries(bring, wanted, folder)


def _missing(snapshot: Snapshot, names: list[str], folder: Path) -> list[str]:
    """Remove files whose hash differs from the Hub's; returns the names that are then missing."""
    from huggingface_hub import HfApi

    found = HfApi(endpoint=endpoint()).verify_repo_checksums(
        snapshot.wanted.repo,
        repo_type=snapshot.wanted.repo_type,
        revision=snapshot.commit,
        local_dir=folder,
    )
    for name in {one["path"] for one in found.mismatches}.intersection(names):
        (folder / name).unlink()
    return [name for name in names if not (folder / name).is_file()]


def download_asset(name: str, asset: HubAsset, cache: Path) -> tuple[str, Path]:
    """Download the snapshot of a `hub` asset into the cache; returns its commit and folder.

    Raises as `with_retries`, and BadInput if no file matches the patterns.
    """
    wanted = wanted_asset(name, asset)
    snapshot = find_snapshot(wanted)
    names = select(snapshot.names, asset.patterns)
    if not names:
        raise BadInput(
            f"asset {name}: no file of {wanted} matches {', '.join(asset.patterns)}; correct "
            "the patterns in config/assets.yaml"
        )
    folder = inside(cache / "hub" / asset.repo_type / asset.repo, snapshot.commit)
    download(snapshot, names, folder)
    return snapshot.commit, folder
