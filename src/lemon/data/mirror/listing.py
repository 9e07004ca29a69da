"""`mirror.json`: the content of a mirror folder, with commits and the hash of every file.

Layout of a mirror:

    DIR/<owner>/<name>/        a data set in the Hub's layout, for `lemon evaluate --source DIR`
    DIR/assets/                model and text, for `lemon fetch --source DIR`
    DIR/mirror.json            written last
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from lemon.data.benchmarks.card import Configs
from lemon.data.fetch.assets import LockedAsset
from lemon.data.mirror.hub_rows import file_names
from lemon.errors import BadInput
from lemon.files.json_file import checked
from lemon.files.manifest import read_sealed, sealed
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
        """The stamp of an existing file."""
        return cls(path.stat().st_size, file_digest(path))

    def fits(self, path: Path) -> bool:
        """Whether the file exists and is unchanged."""
        same_size = path.is_file() and path.stat().st_size == self.size
        return same_size and file_digest(path) == self.sha256


def intact(files: dict[str, Stamp], folder: Path) -> bool:
    """Whether every file is in the folder and unchanged."""
    return all(stamp.fits(folder / name) for name, stamp in files.items())


@dataclass
class MirroredRows:
    """The mirrored part of a data set of the Hub."""

    revision: str  # requested branch
    commit: str  # of that branch when it was mirrored
    configs: Configs
    files: dict[str, Stamp]  # by path in the data set's folder, including README.md


@dataclass
class MirroredAsset:
    """A mirrored asset."""

    locked: LockedAsset
    files: dict[str, Stamp]  # by path in `DIR/assets`


@dataclass
class MirrorListing:
    """The content of a mirror.

    `commits` holds the commit of each branch when first requested, so that a mirror that is
    continued or extended stays at one commit.
    """

    rows: dict[str, MirroredRows] = field(default_factory=dict)
    assets: dict[str, MirroredAsset] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the listing atomically."""
        write_json(path, sealed({"format": FORMAT, **asdict(self)}))


def has_listing(folder: Path) -> bool:
    """Whether a folder is a mirror, finished or not."""
    return any((folder / name).is_file() for name in (LISTING, UNFINISHED))


def read_mirror(folder: Path) -> MirrorListing:
    """The listing of a finished mirror; BadInput if the folder is none."""
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
    """The listing of a mirror so far, finished or not; empty if there is none."""
    for name in (UNFINISHED, LISTING):
        if (folder / name).is_file():
            return _parsed(folder / name)
    return MirrorListing()


def _parsed(path: Path) -> MirrorListing:
    """Read a listing and check its types, its digest and every name in it."""
    fix = "delete this file and run `lemon fetch --mirror` again"
    listing = checked(read_sealed(path, FORMAT, fix), MirrorListing, str(path), fix)
    for repository, rows in listing.rows.items():
        place = inside(path.parent, repository)
        for name in [*rows.files, *file_names(rows.configs)]:
            inside(place, name)
    for asset in listing.assets.values():
        for name in [*asset.files, asset.locked.path]:
            inside(path.parent / ASSETS, name)
    return listing
