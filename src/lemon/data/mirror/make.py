"""Everything that a preset needs, in one folder to be carried to a machine without a network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from lemon.configuration.assets import Asset, HubAsset, PypiAsset
from lemon.data.fetch.archive import FolderFiles
from lemon.data.fetch.assets import LockedAsset, declared_asset, fetch_asset
from lemon.data.fetch.hub import COMMIT, download, snapshot, wanted_asset
from lemon.data.fetch.hub import UNFINISHED as UNFINISHED_DOWNLOAD
from lemon.data.fetch.hub_patience import NotThere, Wanted
from lemon.data.mirror.hub_rows import (
    CONVERTED,
    Configs,
    NeededRows,
    chosen,
    converted,
    declared,
    file_names,
    front_matter,
    named,
    needed_rows,
    written_card,
)
from lemon.data.mirror.manifest import (
    ASSETS,
    MANIFEST,
    UNFINISHED,
    MirroredAsset,
    MirroredRows,
    MirrorManifest,
    Stamp,
    read_begun_mirror,
)
from lemon.errors import BadInput
from lemon.files.storage import LOCK, sole_writer, storage_error, write_text

CARD = "README.md"
log = logging.getLogger(__name__)


def make_mirror(
    assets: Mapping[str, Asset], needed: Iterable[str], tasks: Iterable[str], folder: Path
) -> MirrorManifest:
    """Lay down assets and the data sets of tasks under `folder`, and `mirror.json` last.

    What is there and unchanged is kept without asking the Hub, so that an interrupted call goes
    on where it stopped and a repeated one downloads nothing. Another preset's needs are added.

    Args:
        assets: those that the configuration declares.
        needed: the keys of those that are mirrored.
        tasks: whose data sets are mirrored.
        folder: the mirror, new or begun.

    Raises:
        BadInput: something is not to be found, or needs a licence to be accepted.
        WorkFailed: no network, a wrong hash, a full disk.
    """
    begun = any((folder / name).is_file() for name in (MANIFEST, UNFINISHED))
    if not begun and folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise BadInput(
            f"{folder}: holds files and is no mirror; nothing was changed. Name a new or empty "
            "folder, or the mirror that is to be added to"
        )
    with sole_writer(folder):
        work = _Work(folder, read_begun_mirror(folder))
        for repository, rows in needed_rows(tasks).items():
            work.take_rows(repository, rows)
        for name in sorted(set(needed)):
            work.take_asset(name, declared_asset(assets, name))
        work.finish()
        return work.manifest


class _Work:
    """A mirror while it is made: what it holds so far is written down after every step."""

    def __init__(self, folder: Path, manifest: MirrorManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.changed = not (folder / MANIFEST).is_file() or (folder / UNFINISHED).is_file()

    def take_rows(self, repository: str, needed: NeededRows) -> None:
        """Mirror the files of one data set."""
        before = self.manifest.rows.get(repository)
        place = self.folder / repository
        if before and chosen(before.configs, needed) is not None and before.intact(place):
            log.info("in the mirror: %s", repository)
            return
        if before:
            needed = _joined(needed, before.configs)
        revision, commit, configs, card = self._locate(repository, needed, place)
        write_text(place / CARD, written_card(repository, revision, commit, configs, card))
        stamps = {name: Stamp.of(place / name) for name in (*file_names(configs), CARD)}
        self.manifest.rows[repository] = MirroredRows(revision, commit, configs, stamps)
        self._note()

    def _locate(
        self, repository: str, needed: NeededRows, place: Path
    ) -> tuple[str, str, Configs, dict[str, object]]:
        """Bring the files; gives revision, commit, files by config, and the Hub's front matter."""
        subject = f"task {' and '.join(needed.tasks)}" if needed.tasks else f"data set {repository}"
        mend = "check HF_ENDPOINT, or take the task out of evaluation.tasks"
        card: dict[str, object] = {}
        for revision in ("main", CONVERTED):
            wanted = Wanted(subject, repository, "dataset", revision, mend)
            pinned = self._pinned(wanted)
            try:
                found = snapshot(pinned)
            except NotThere:
                if revision == "main":
                    raise
                break
            self._pin(wanted, found.commit)
            names = sorted(found.files)
            if revision == "main":
                if CARD in found.files:
                    # Not yet the mirror's own README, which is written last.
                    scratch = place / UNFINISHED_DOWNLOAD / "card"
                    download(pinned, found, [CARD], scratch)
                    text = (scratch / CARD).read_text(encoding="utf-8", errors="replace")
                    card = front_matter(text)
                layouts = [declared(card, names), named(names)]
            else:
                layouts = [converted(names)]
            for layout in layouts:
                configs = chosen(layout, needed)
                if configs is not None:
                    download(pinned, found, file_names(configs), place)
                    return revision, found.commit, configs, card
        raise BadInput(
            f"{subject}: {repository} has no parquet files of these configs and splits ({needed}), "
            f"neither at main nor at {CONVERTED}; {mend}"
        )

    def take_asset(self, name: str, asset: Asset) -> None:
        """Mirror one asset."""
        root = self.folder / ASSETS
        before = self.manifest.assets.get(name)
        if before and fits(before.locked, asset) and before.intact(root):
            log.info("in the mirror: %s: %s", name, before.locked.origin)
            return
        if isinstance(asset, HubAsset):
            wanted = wanted_asset(name, asset)
            pinned = self._pinned(wanted)
            if pinned.revision == asset.revision:
                self._pin(wanted, snapshot(wanted).commit)
                pinned = self._pinned(wanted)
            asset = asset.model_copy(update={"revision": pinned.revision})
        locked = fetch_asset(name, asset, root)
        at = root / locked.path
        found = FolderFiles(at, locked.members).names() if at.is_dir() else None
        paths = [at] if found is None else [at / file for file in found]
        stamps = {path.relative_to(root).as_posix(): Stamp.of(path) for path in paths}
        self.manifest.assets[name] = MirroredAsset(locked, stamps)
        self._note()

    def finish(self) -> None:
        """Write `mirror.json` if there is something new."""
        if self.changed:
            self.manifest.write(self.folder / MANIFEST)
        try:
            (self.folder / UNFINISHED).unlink(missing_ok=True)
            for left in (*self.folder.glob(".*.partial"), *self.folder.glob("*/.*.partial")):
                # Of a call that was killed; nobody else writes here.
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        except OSError as error:
            raise storage_error(error, self.folder) from error
        stamps = [
            *(entry.files for entry in self.manifest.rows.values()),
            *(entry.files for entry in self.manifest.assets.values()),
        ]
        size = sum(stamp.size for files in stamps for stamp in files.values())
        log.info(
            "%s: %d data sets and %d assets, %.0f MB",
            self.folder,
            len(self.manifest.rows),
            len(self.manifest.assets),
            size / 1e6,
        )

    def _note(self) -> None:
        self.changed = True
        self.manifest.write(self.folder / UNFINISHED)

    def _pinned(self, wanted: Wanted) -> Wanted:
        """The same at the commit that was written down, if one was."""
        commit = self.manifest.commits.get(_key(wanted), wanted.revision)
        return Wanted(wanted.subject, wanted.repo, wanted.repo_type, commit, wanted.mend)

    def _pin(self, wanted: Wanted, commit: str) -> None:
        if self.manifest.commits.get(_key(wanted)) != commit:
            self.manifest.commits[_key(wanted)] = commit
            self._note()


def fits(locked: LockedAsset, asset: Asset) -> bool:
    """Whether what was locked is what the configuration asks for."""
    if isinstance(asset, PypiAsset):
        return locked.kind == "pypi" and locked.sha256 == asset.sha256
    pinned = asset.revision == locked.version or not COMMIT.fullmatch(asset.revision)
    same = (locked.kind, locked.origin, locked.members) == ("hub", asset.repo, asset.patterns)
    return same and pinned


def _key(wanted: Wanted) -> str:
    return f"{wanted.repo_type}/{wanted.repo}@{wanted.revision}"


def _joined(needed: NeededRows, before: Configs) -> NeededRows:
    """The needs of this call and what an earlier one mirrored."""
    splits = {config: set(files) for config, files in before.items()}
    for config, names in needed.splits.items():
        splits.setdefault(config, set()).update(names)
    return NeededRows(needed.tasks, splits)
