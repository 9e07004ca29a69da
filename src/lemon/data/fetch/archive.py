"""The files of an asset, whether it is an archive or a folder."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Protocol

from lemon.errors import BadInput


class AssetFiles(Protocol):
    """The files of one asset; names are relative paths with `/`."""

    def names(self) -> list[str]:
        """The files that the asset's `members` patterns select, sorted; all without patterns."""

    def read(self, name: str) -> bytes:
        """The content of a file, whether selected or not."""

    def open(self, name: str) -> IO[bytes]:
        """A file as a stream, whether selected or not."""


class ZipFiles:
    """The files of a zip archive, such as a wheel."""

    def __init__(self, path: Path, members: Sequence[str] = ()) -> None:
        """Open `path` for reading.

        Raises:
            BadInput: it is no zip archive.
        """
        self.path = path
        self.members = members
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise BadInput(f"{path}: not a readable archive ({error}); fetch it again") from None

    def names(self) -> list[str]:
        """The selected files, sorted."""
        every = (info.filename for info in self._archive.infolist() if not info.is_dir())
        return select(every, self.members)

    def read(self, name: str) -> bytes:
        """The content of a file; its checksum is verified."""
        try:
            return self._archive.read(name)
        except KeyError:
            raise BadInput(f"{self.path}: holds no {name}") from None
        except zipfile.BadZipFile as error:
            raise BadInput(f"{self.path}: {name} is damaged ({error}); fetch it again") from None

    def open(self, name: str) -> IO[bytes]:
        """A file as a stream; its checksum is verified at its end."""
        try:
            return self._archive.open(name)
        except KeyError:
            raise BadInput(f"{self.path}: holds no {name}") from None


class FolderFiles:
    """The files under a folder."""

    def __init__(self, path: Path, members: Sequence[str] = ()) -> None:
        self.path = path
        self.members = members

    def names(self) -> list[str]:
        """The selected files, sorted; hidden ones and what lies in hidden folders are left out."""
        paths = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        visible = (
            path.as_posix()
            for path in paths
            if not any(part.startswith(".") for part in path.parts)
        )
        return select(visible, self.members)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise BadInput(f"{self.path}: holds no {name}") from None

    def open(self, name: str) -> IO[bytes]:
        """A file as a stream."""
        try:
            return (self.path / name).open("rb")
        except FileNotFoundError:
            raise BadInput(f"{self.path}: holds no {name}") from None


def select(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match one of the patterns (`*` also spans `/`), sorted."""
    return [
        name
        for name in sorted(names)
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
