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

from lemon.data.benchmarks.card import Configs
from lemon.data.fetch.assets import LockedAsset
from lemon.data.mirror.hub_rows import file_names
from lemon.errors import BadInput
from lemon.files.json_file import checked, read_json
from lemon.files.manifest import require_sealed, sealed
from lemon.files.storage import inside, write_json
from lemon.provenance import file_digest

LISTING = "mirror.json"
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


def intact(files: dict[str, Stamp], folder: Path) -> bool:
    """Whether every file is in the folder and unchanged."""
    return all(stamp.fits(folder / name) for name, stamp in files.items())


@dataclass
class MirroredRows:
    """A data set of the Hub, as far as it was mirrored.

    Attributes:
        revision: branch that was asked for; `commit` is what it stood for.
        configs: files by config and split.
        files: by path in the data set's folder, README.md among them.
    """

    revision: str
    commit: str
    configs: Configs
    files: dict[str, Stamp]


@dataclass
class MirroredAsset:
    """An asset; `files` are by path in `DIR/assets`."""

    locked: LockedAsset
    files: dict[str, Stamp]


@dataclass
class MirrorListing:
    """Everything that a mirror holds.

    Attributes:
        commits: what branches stood for when they were first asked for, so that a mirror that is
            continued or added to stays at one commit.
    """

    rows: dict[str, MirroredRows] = field(default_factory=dict)
    assets: dict[str, MirroredAsset] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_json(path, sealed({"format": FORMAT, **asdict(self)}))


def has_listing(folder: Path) -> bool:
    """Whether a folder is a mirror, finished or not."""
    return any((folder / name).is_file() for name in (LISTING, UNFINISHED))


def read_mirror(folder: Path) -> MirrorListing:
    """What a finished mirror holds.

    Raises:
        BadInput: the folder is no mirror, or not a finished one.
    """
    if (folder / LISTING).is_file():
        return _parsed(folder / LISTING)
    if has_listing(folder):
        raise BadInput(
            f"{folder}: this mirror is not finished; run the same `lemon fetch --mirror` again, it "
            "goes on where it stopped"
        )
    raise BadInput(
        f"{folder}: no mirror here ({LISTING} is missing); `lemon fetch --preset NAME --mirror "
        f"{folder.name or 'DIR'}` makes one on a machine with a network"
    )


def read_begun_mirror(folder: Path) -> MirrorListing:
    """What a mirror holds so far; nothing where it was not begun."""
    for name in (UNFINISHED, LISTING):
        if (folder / name).is_file():
            return _parsed(folder / name)
    return MirrorListing()


def _parsed(path: Path) -> MirrorListing:
    """The list in a file, after checking its types, its digest and every name in it."""
    fix = "delete this file and run `lemon fetch --mirror` again"
    content = read_json(path, dict[str, Any], fix)
    if content.get("format") != FORMAT:
        raise BadInput(f"{path}: not a mirror's list of files of this version; {fix}")
    require_sealed(content, path, fix, since=False)
    listing = checked(content, MirrorListing, str(path), fix)
    for repository, rows in listing.rows.items():
        place = inside(path.parent, repository)
        for name in [*rows.files, *file_names(rows.configs)]:
            inside(place, name)
    for asset in listing.assets.values():
        for name in [*asset.files, asset.locked.path]:
            inside(path.parent / ASSETS, name)
    return listing
