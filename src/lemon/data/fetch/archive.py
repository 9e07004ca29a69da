"""Read the files of an asset, a zip archive (e.g. a wheel) or a folder."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from lemon.errors import BadInput


class AssetFiles:
    """The files of one asset; names are relative paths with `/`.

    Attributes:
        path: of the archive or folder.
        archive: open for reading; None for a folder.
    """

    def __init__(self, path: Path, members: Sequence[str] = ()) -> None:
        """Open an archive or a folder; BadInput if it is neither.

        `members` are patterns of the files that `names` returns; by default all files.
        """
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        self._members = members
        if not path.is_dir():
            try:
                self.archive = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError) as error:
                raise BadInput(
                    f"{path}: not a readable archive ({error}); fetch it again"
                ) from None

    def names(self) -> list[str]:
        """The selected files, sorted; hidden files and folders of a folder are left out."""
        if self.archive:
            names = [info.filename for info in self.archive.infolist() if not info.is_dir()]
        else:
            paths = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
            names = [path.as_posix() for path in paths if not is_hidden(path)]
        return select(names, self._members)

    def read(self, name: str) -> bytes:
        """The content of a file, whether selected or not; BadInput if it is missing or damaged."""
        try:
            with self.open(name) as stream:
                return stream.read()
        except zipfile.BadZipFile as error:  # each member carries a checksum
            raise BadInput(f"{self.path}: {name} is damaged ({error}); fetch it again") from None

    def open(self, name: str) -> IO[bytes]:
        """A file as a stream; otherwise as `read`."""
        try:
            return self.archive.open(name) if self.archive else (self.path / name).open("rb")
        except (KeyError, FileNotFoundError):
            raise BadInput(f"{self.path}: holds no {name}") from None
        except zipfile.BadZipFile as error:
            raise BadInput(f"{self.path}: {name} is damaged ({error}); fetch it again") from None


def is_hidden(path: Path) -> bool:
    """Whether any part of a relative path is hidden."""
    return any(part.startswith(".") for part in path.parts)


def select(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match a pattern (`*` also matches `/`), sorted; all if no patterns."""
    return sorted(
        name
        for name in names
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    )
