"""Download one pinned snapshot from the Hugging Face Hub."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from lemon.errors import BadInput, WorkFailed
from lemon.registry import HubAsset
from lemon.storage import storage_error

COMMIT = re.compile(r"[0-9a-f]{40}")


def download_from_hub(name: str, asset: HubAsset, cache: Path) -> tuple[str, Path]:
    """Bring the snapshot of a `hub` asset into the cache.

    A file appears there only when it is complete, and files that are already there are kept.

    Returns:
        The commit that the revision stands for, and the folder of its files.

    Raises:
        BadInput: no such repository or revision, or its licence must be accepted first.
        WorkFailed: no network, or the disk is full.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    where = f"{asset.repo} at revision {asset.revision}"
    folder = cache / "hub" / asset.repo_type / asset.repo
    try:
        commit = asset.revision
        if not COMMIT.fullmatch(commit):
            info = HfApi().repo_info(asset.repo, revision=commit, repo_type=asset.repo_type)
            commit = str(info.sha)
        snapshot_download(
            repo_id=asset.repo,
            repo_type=asset.repo_type,
            revision=commit,
            allow_patterns=list(asset.patterns),
            local_dir=folder / commit,
        )
    except hub.GatedRepoError:
        raise BadInput(
            f"asset {name}: {asset.repo} is gated; accept its licence on the Hub, log in with "
            "`hf auth login` and run `lemon fetch` again"
        ) from None
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError):
        raise BadInput(
            f"asset {name}: the Hub has no {where} (or it is private); correct it in "
            "config/assets.yaml"
        ) from None
    except Exception as error:  # the Hub's client raises those of its transport as they are
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
            raise storage_error(error, folder) from None
        raise WorkFailed(
            f"asset {name}: {where} can't be had from the Hub ({type(error).__name__}); check the "
            "network and HF_ENDPOINT, and run `lemon fetch` again, it goes on where it stopped"
        ) from error
    return commit, folder / commit
