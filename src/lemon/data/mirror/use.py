"""The assets of a preset out of a mirror folder, without a network."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lemon.configuration.assets import Asset, PypiAsset
from lemon.data.fetch.assets import Lock, declared_asset, default_cache, write_lock
from lemon.data.mirror.check_rows import check_rows
from lemon.data.mirror.hub_rows import chosen, needed_rows
from lemon.data.mirror.make import fits
from lemon.data.mirror.manifest import ASSETS, MirrorManifest, Stamp, read_mirror
from lemon.errors import BadInput
from lemon.files.storage import atomic_file, inside, sole_writer

log = logging.getLogger(__name__)


def fetch_from_mirror(
    assets: Mapping[str, Asset],
    needed: Iterable[str],
    tasks: Iterable[str],
    mirror: Path,
    out: Path,
    cache: Path | None = None,
) -> Lock:
    """Copy the needed assets from a mirror into the cache and write the lock file.

    Each file is hashed while it is copied. The rows of the tasks stay in the mirror, where
    `lemon evaluate --source` reads them; here they are checked.

    Raises:
        BadInput: the folder is no finished mirror, lacks something, or a file is damaged.
        WorkFailed: the disk is full.
    """
    cache = cache or default_cache()
    manifest = read_mirror(mirror)
    lock: Lock = {}
    for name in sorted(set(needed)):
        asset = declared_asset(assets, name)
        entry = manifest.assets.get(name)
        if entry is None or not fits(entry.locked, asset):
            found = "is not in it" if entry is None else "is another version there"
            raise BadInput(f"{mirror}: asset {name} {found}; {_again()}")
        log.info("from the mirror: %s: %s", name, entry.locked.origin)
        with sole_writer(cache, wait_s=math.inf):
            for file, stamp in entry.files.items():
                _copy(inside(mirror / ASSETS, file), inside(cache, file), stamp)
        # What is taken out of a package, and its licence, the configuration may say anew.
        lock[name] = replace(entry.locked, members=_members(asset), licence=asset.licence)
    _check_tasks(manifest, tasks, mirror)
    write_lock(out, lock)
    return lock


def _check_tasks(manifest: MirrorManifest, tasks: Iterable[str], mirror: Path) -> None:
    for repository, needed in needed_rows(tasks).items():
        entry = manifest.rows.get(repository)
        if entry is None or chosen(entry.configs, needed) is None:
            raise BadInput(
                f"{mirror}: the rows of {' and '.join(needed.tasks)} ({repository}) are not in it; "
                f"{_again()}"
            )
        check_rows(mirror / repository)


def _members(asset: Asset) -> tuple[str, ...]:
    return asset.members if isinstance(asset, PypiAsset) else asset.patterns


def _again() -> str:
    return "run `lemon fetch --mirror` for this preset again where there is a network"


def _copy(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a file whole or not at all; one that is there and right is kept."""
    if stamp.fits(target):
        return
    if not source.is_file():
        raise BadInput(f"{source}: missing from the mirror; {_again()}, or copy it anew")
    digest = hashlib.sha256()
    with atomic_file(target) as temporary:
        with source.open("rb") as original, temporary.open("wb") as copy:
            while part := original.read(1 << 20):
                digest.update(part)
                copy.write(part)
        if digest.hexdigest() != stamp.sha256:
            raise BadInput(
                f"{source}: sha256 is {digest.hexdigest()}, but mirror.json says {stamp.sha256}; "
                f"the file is damaged: copy it anew, or {_again()}"
            )
