"""Download all that a preset needs into one folder, for a machine without a network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lemon.configuration.assets import Asset, HubAsset, PypiAsset
from lemon.data.benchmarks.card import Configs
from lemon.data.fetch.assets import LockedAsset, fetch_asset
from lemon.data.fetch.hub import COMMIT, HUB_STATE, Snapshot, download, find_snapshot, wanted_asset
from lemon.data.fetch.hub_retry import NotThere, Wanted
from lemon.data.mirror.hub_rows import (
    CONVERTED,
    NeededRows,
    chosen,
    converted,
    declared,
    file_names,
    named,
    needed_rows,
    written_card,
)
from lemon.data.mirror.listing import (
    ASSETS,
    LISTING,
    UNFINISHED,
    MirroredAsset,
    MirroredRows,
    MirrorListing,
    Stamp,
    has_listing,
    intact,
    read_begun_mirror,
)
from lemon.errors import BadInput
from lemon.files.storage import LOCK, refusals_told, sole_writer, write_text

CARD = "README.md"
LEFT_BEHIND = (".*.partial", "*/.*.partial", f"**/{HUB_STATE}")  # by a killed process
log = logging.getLogger(__name__)


def make_mirror(
    assets: Mapping[str, Asset], needed: Iterable[str], tasks: Iterable[str], folder: Path
) -> MirrorListing:
    """Write the needed assets and the data sets of tasks into `folder`, and `mirror.json` last.

    Unchanged files are kept without asking the Hub, so an interrupted call continues where it
    stopped and a repeated one downloads nothing. The needs of several presets can be added. Raises
    as `lemon.data.fetch.assets.fetch`, and BadInput if `folder` holds something else.
    """
    others = [path for path in folder.glob("*") if path.name != LOCK]
    if others and not has_listing(folder):
        raise BadInput(
            f"{folder}: holds files and is no mirror; nothing was changed. Name a new or empty "
            "folder, or an existing mirror"
        )
    with sole_writer(folder):
        maker = _MirrorMaker(folder, read_begun_mirror(folder))
        for repository, rows in needed_rows(tasks).items():
            maker.take_rows(repository, rows)
        for name in sorted(set(needed)):
            maker.take_asset(name, assets[name])
        maker.finish()
        return maker.listing


class _MirrorMaker:
    """Makes a mirror; the listing so far is written after every step."""

    def __init__(self, folder: Path, listing: MirrorListing) -> None:
        self.folder = folder
        self.listing = listing
        self.changed = not (folder / LISTING).is_file() or (folder / UNFINISHED).is_file()

    def take_rows(self, repository: str, needed: NeededRows) -> None:
        """Mirror the files of one data set."""
        before, place = self.listing.rows.get(repository), self.folder / repository
        if before and chosen(before.configs, needed) and intact(before.files, place):
            log.info("in the mirror: %s", repository)
            return
        if before:
            needed = needed.joined(before.configs)
        snapshot, configs, card = self._locate(repository, needed)
        download(snapshot, file_names(configs), place)
        revision, commit = snapshot.wanted.revision, snapshot.commit
        write_text(place / CARD, written_card(repository, revision, commit, configs, card))
        stamps = {name: Stamp.of(place / name) for name in (*file_names(configs), CARD)}
        self.listing.rows[repository] = MirroredRows(revision, commit, configs, stamps)
        self._write_progress()

    def _locate(
        self, repository: str, needed: NeededRows
    ) -> tuple[Snapshot, Configs, dict[str, object]]:
        """The snapshot with the rows, the files by config, and the data set's card."""
        subject = f"task {' and '.join(needed.tasks)}" if needed.tasks else f"data set {repository}"
        fix = "check HF_ENDPOINT, or take the task out of evaluation.tasks"
        main = self._find(Wanted(subject, repository, "dataset", "main", fix))
        for configs in (declared(main.card, main.names), named(main.names)):
            if files := chosen(configs, needed):
                return main, files, main.card
        with suppress(NotThere):
            other = self._find(replace(main.wanted, revision=CONVERTED))
            if files := chosen(converted(other.names), needed):
                return other, files, main.card
        raise BadInput(
            f"{subject}: {repository} has no parquet files of these configs and splits ({needed}), "
            f"neither at main nor at {CONVERTED}; {fix}"
        )

    def _find(self, wanted: Wanted) -> Snapshot:
        """The snapshot of a revision, at the commit of the first request, which is recorded."""
        key = f"{wanted.repo_type}/{wanted.repo}@{wanted.revision}"
        commits = self.listing.commits
        found = find_snapshot(replace(wanted, revision=commits.get(key, wanted.revision)))
        if commits.get(key) != found.commit:
            commits[key] = found.commit
            self._write_progress()
        return replace(found, wanted=wanted)

    def take_asset(self, name: str, asset: Asset) -> None:
        """Mirror one asset."""
        root = self.folder / ASSETS
        before = self.listing.assets.get(name)
        if before and fits(before.locked, asset) and intact(before.files, root):
            log.info("in the mirror: %s: %s", name, before.locked.origin)
            return
        if isinstance(asset, HubAsset):
            commit = self._find(wanted_asset(name, asset)).commit
            asset = asset.model_copy(update={"revision": commit})
        locked = fetch_asset(name, asset, root)
        stamps = {path.relative_to(root).as_posix(): Stamp.of(path) for path in locked.files(root)}
        self.listing.assets[name] = MirroredAsset(locked, stamps)
        self._write_progress()

    def finish(self) -> None:
        """Write `mirror.json` if something is new, and remove files left by killed processes."""
        if self.changed:
            self.listing.write(self.folder / LISTING)
        with refusals_told(self.folder):
            (self.folder / UNFINISHED).unlink(missing_ok=True)
            for left in [path for pattern in LEFT_BEHIND for path in self.folder.glob(pattern)]:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        rows, assets = self.listing.rows, self.listing.assets
        entries: list[MirroredRows | MirroredAsset] = [*rows.values(), *assets.values()]
        size = sum(stamp.size for entry in entries for stamp in entry.files.values()) / 1e6
        held = f"{len(rows)} data sets and {len(assets)} assets, {size:.0f} MB"
        log.info("%s: %s", self.folder, held)

    def _write_progress(self) -> None:
        self.changed = True
        self.listing.write(self.folder / UNFINISHED)


def fits(locked: LockedAsset, asset: Asset) -> bool:
    """Whether a locked asset is the one declared in the configuration."""
    if isinstance(asset, PypiAsset):
        return locked.kind == "pypi" and locked.sha256 == asset.sha256
    pinned = asset.revision == locked.version or not COMMIT.fullmatch(asset.revision)
    same = (locked.kind, locked.origin, locked.members) == ("hub", asset.repo, asset.patterns)
    return same and pinned
