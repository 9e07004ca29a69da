"""Copy the assets of a preset from a mirror folder, without a network."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lemon.configuration.assets import Asset, PypiAsset
from lemon.data.fetch.assets import Lock, write_lock
from lemon.data.mirror.check_rows import check_rows
from lemon.data.mirror.hub_rows import chosen, needed_rows
from lemon.data.mirror.listing import ASSETS, LISTING, Stamp, read_mirror
from lemon.data.mirror.make import fits
from lemon.errors import BadInput
from lemon.files.manifest import damaged
from lemon.files.storage import atomic_file, inside, sole_writer
from lemon.provenance import file_digest

AGAIN = "run `lemon fetch --mirror` for this preset again where there is a network"
log = logging.getLogger(__name__)


def fetch_from_mirror(
    assets: Mapping[str, Asset],
    needed: Iterable[str],
    tasks: Iterable[str],
    mirror: Path,
    out: Path,
    cache: Path,
) -> Lock:
    """Copy the needed assets from a mirror into the cache and write the lock file.

    Each copy is hashed. The rows of the tasks are checked but stay in the mirror, where `lemon
    evaluate --source` reads them. BadInput if the folder is no finished mirror, lacks something, or
    a file is damaged.
    """
    listing = read_mirror(mirror)
    lock: Lock = {}
    for name in sorted(set(needed)):
        asset = assets[name]
        entry = listing.assets.get(name)
        if entry is None or not fits(entry.locked, asset):
            found = "is not in it" if entry is None else "is another version there"
            raise BadInput(f"{mirror}: asset {name} {found}; {AGAIN}")
        log.info("from the mirror: %s: %s", name, entry.locked.origin)
        with sole_writer(cache, wait_s=math.inf):
            for file, stamp in entry.files.items():
                _copy(inside(mirror / ASSETS, file), inside(cache, file), stamp)
        # The configuration may have changed the members or the licence since the mirror was made.
        members = asset.members if isinstance(asset, PypiAsset) else asset.patterns
        lock[name] = replace(entry.locked, members=members, licence=asset.licence)
    for repository, rows in needed_rows(tasks).items():
        mirrored = listing.rows.get(repository)
        if mirrored is None or chosen(mirrored.configs, rows) is None:
            raise BadInput(
                f"{mirror}: the rows of {' and '.join(rows.tasks)} ({repository}) are not in it; "
                f"{AGAIN}"
            )
        check_rows(mirror / repository)
    write_lock(out, lock)
    return lock


def _copy(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a file atomically; an intact target is kept."""
    if stamp.fits(target):
        return
    if not source.is_file():
        raise BadInput(f"{source}: missing from the mirror; {AGAIN}, or copy it again")
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
        if (found := file_digest(temporary)) != stamp.sha256:
            raise damaged(source, found, stamp.sha256, LISTING, f"copy it again, or {AGAIN}")
