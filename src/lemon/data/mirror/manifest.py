"""`mirror.json`: what a mirror folder holds, with the commit and the hash of every file.

A mirror is laid out as

    DIR/<owner>/<name>/        a data set in the Hub's layout, for `lemon evaluate --source DIR`
    DIR/assets/                model and text, for `lemon fetch --source DIR`
    DIR/mirror.json            written last of all
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lemon.data.fetch.assets import LockedAsset
from lemon.errors import BadInput
from lemon.files.json_file import checked, read_json
from lemon.files.manifest import require_sealed, sealed
from lemon.files.storage import inside, write_json
from lemon.provenance import file_digest

MANIFEST = "mirror.json"
UNFINISHED = ".mirror-unfinished.json"
ASSETS = "assets"
FORMAT = 1


@dataclass(frozen=True)
class Stamp:
    """Size and hash of a file."""

    size: int  # bytes
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file that is there."""
        return cls(path.stat().st_size, file_digest(path))

    def fits(self, path: Path) -> bool:
        """Whether the file is there and unchanged."""
        return (
            path.is_file() and path.stat().st_size == self.size and file_digest(path) == self.sha256
        )


@dataclass
class MirroredRows:
    """A data set of the Hub, as far as it was mirrored.

    Attributes:
        revision: branch that was asked for; `commit` is what it stood for.
        configs: files by config and split.
        files: by path under the data set's folder, README.md among them.
    """

    revision: str
    commit: str
    configs: dict[str, dict[str, list[str]]]
    files: dict[str, Stamp]

    def intact(self, place: Path) -> bool:
        """Whether every file is in the data set's folder and unchanged."""
        return _all_fit(self.files, place)


@dataclass
class MirroredAsset:
    """An asset; `files` are by path under `DIR/assets`."""

    locked: LockedAsset
    files: dict[str, Stamp]

    def intact(self, assets: Path) -> bool:
        """Whether every file is there and unchanged."""
        return _all_fit(self.files, assets)


def _all_fit(files: dict[str, Stamp], folder: Path) -> bool:
    return all(stamp.fits(folder / name) for name, stamp in files.items())


@dataclass
class MirrorManifest:
    """Everything that a mirror holds.

    Attributes:
        commits: what branches stood for when they were first asked for, so that a mirror that is
            gone on with, or added to, stays at one commit.
    """

    rows: dict[str, MirroredRows] = field(default_factory=dict)
    assets: dict[str, MirroredAsset] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_json(path, sealed({"format": FORMAT, **asdict(self)}))


def read_mirror(folder: Path) -> MirrorManifest:
    """What a finished mirror holds.

    Raises:
        BadInput: the folder is no mirror, or not a finished one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / UNFINISHED).is_file():
            raise BadInput(
                f"{folder}: this mirror is not finished; run the same `lemon fetch --mirror` "
                "again, it goes on where it stopped"
            )
        raise BadInput(
            f"{folder}: no mirror here ({MANIFEST} is missing); `lemon fetch --preset NAME "
            f"--mirror {folder.name or 'DIR'}` makes one on a machine with a network"
        )
    return _parsed(path)


def read_begun_mirror(folder: Path) -> MirrorManifest:
    """What a mirror holds so far; nothing where it was not begun."""
    for name in (UNFINISHED, MANIFEST):
        if (folder / name).is_file():
            return _parsed(folder / name)
    return MirrorManifest()


def _parsed(path: Path) -> MirrorManifest:
    fix = "delete this file and run `lemon fetch --mirror` again"
    content = read_json(path, dict[str, Any], fix)
    if content.get("format") != FORMAT:
        raise BadInput(f"{path}: not a mirror's list of files of this version; {fix}")
    require_sealed(content, path, fix, since=False)
    manifest = checked(content, MirrorManifest, str(path), fix)
    for repository, rows in manifest.rows.items():
        place = inside(path.parent, repository)
        named = [
            name for splits in rows.configs.values() for names in splits.values() for name in names
        ]
        for name in [*rows.files, *named]:
            inside(place, name)
    for asset in manifest.assets.values():
        for name in [*asset.files, asset.locked.path]:
            inside(path.parent / ASSETS, name)
    return manifest
