"""The file of a bundle: an xz-compressed tar whose first member is the index of the others.

Equal contents give equal bytes: names are sorted, and times, owners and modes are constants.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import damaged, require_sealed, sealed
from lemon.files.storage import atomic_file

FORMAT_VERSION = 2  # version 1 had no `seeds`
READABLE_VERSIONS = (1, FORMAT_VERSION)
INDEX = "bundle.json"
LARGEST_INDEX = 8 * 2**20  # bytes; a laptop's index has 150 KB
LARGEST_CONTENT = 2**28  # bytes of all files together, which are held in memory
GET_AGAIN = "get the bundle again, or make it with `lemon bundle`"


class Part(BaseModel):
    """A part as it was packed.

    Attributes:
        settings: sha256 of the parameters of its stage.
        files: the sha256 of each file, by its path in the bundle.
        left_out: why a file or folder of it is not in the bundle, by path.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    settings: str
    files: dict[str, str]
    left_out: dict[str, str]


class Index(BaseModel):
    """What a bundle holds: the parts of a preset's finished work, by name.

    `seeds` is how many runs of each learned row the tables show that are rendered from it; None for
    as many as the preset says.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format_version: Literal[1, 2]
    preset: str
    seeds: PositiveInt | None = None
    parts: dict[str, Part]
    digest: str

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of every file in the bundle, by path."""
        return {path: sha for part in self.parts.values() for path, sha in part.files.items()}


def write_archive(
    path: Path, preset: str, seeds: int, parts: Mapping[str, Part], contents: Mapping[str, bytes]
) -> None:
    """Write a bundle atomically; `contents` are the files of its parts, by path in the bundle."""
    plain = {name: part.model_dump() for name, part in sorted(parts.items())}
    head = {"format_version": FORMAT_VERSION, "preset": preset, "seeds": seeds}
    index = sealed({**head, "parts": plain})
    # Built from plain values, so that the index is what a reader will check.
    members = {INDEX: Index.model_validate(index).model_dump_json(indent=1).encode()}
    members |= dict(sorted(contents.items()))
    with (
        atomic_file(path) as temporary,
        tarfile.open(temporary, "w:xz", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, content in members.items():
            member = tarfile.TarInfo(name)  # of mode 644, without time and owner
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def read_index(path: Path) -> Index:
    """Read the index of a bundle; the other members are not read.

    BadInput if it is no bundle, damaged or of another version, or lists a file outside of its part.
    """
    with _opened(path) as archive:
        member = archive.next()
        if member is None or member.name != INDEX:
            raise BadInput(f"{path}: is no bundle, {INDEX} is not its first file; {GET_AGAIN}")
        text = _content(archive, member, path, LARGEST_INDEX)
    where = f"{path}: {INDEX}"
    content = parse_json(text, dict[str, Any], where, GET_AGAIN)
    version = content.get("format_version")
    if version not in READABLE_VERSIONS:
        raise BadInput(
            f"{path}: is a bundle of format {version!r:.20}, this version of lemon reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}; {GET_AGAIN}"
        )
    require_sealed(content, path, GET_AGAIN)
    index = parse_json(text, Index, where, GET_AGAIN)
    for name, part in index.parts.items():
        for file in part.files:
            if not file.startswith((f"{name}/", f"{name}.")):
                raise BadInput(f"{where}: lists {file!r:.200} in the part {name!r:.200}, which is "
                               f"elsewhere; {GET_AGAIN}")  # fmt: skip
    return index


def read_contents(path: Path, index: Index) -> dict[str, bytes]:
    """Every file of a bundle, by path; BadInput if one is damaged, missing, or not in the index."""
    expected, found, left = index.files, dict[str, bytes](), LARGEST_CONTENT
    with _opened(path) as archive:
        for member in archive:
            if member.name == INDEX:
                continue
            if member.name not in expected or member.name in found:
                raise BadInput(
                    f"{path}: holds {member.name!r:.200}, which its index does not list, or lists "
                    f"once; {GET_AGAIN}"
                )
            content = _content(archive, member, path, left)
            left -= len(content)
            digest = sha256(content).hexdigest()
            if digest != expected[member.name]:
                fix = f"nothing was written, {GET_AGAIN}"
                where = f"{path}: {member.name}"
                raise damaged(where, digest, expected[member.name], "the index", fix)
            found[member.name] = content
        # To the end of the compressed stream, whose own checksum is there; it holds zeros alone.
        padding = archive.fileobj.read(tarfile.RECORDSIZE + 1) if archive.fileobj else b""
        if len(padding) > tarfile.RECORDSIZE or any(padding):
            raise BadInput(f"{path}: holds something behind its last file; {GET_AGAIN}")
    if missing := sorted(expected.keys() - found.keys()):
        raise BadInput(f"{path}: lacks {missing[0]!r:.200}, which its index lists; {GET_AGAIN}")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:xz") as archive:
            yield archive
    except FileNotFoundError:
        raise BadInput(f"{path}: no such bundle; `lemon bundle` writes one") from None
    except OSError as error:
        raise BadInput(f"{path}: can't be read ({error.strerror or error})") from None
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise BadInput(f"{path}: is no bundle, or is damaged ({error}); {GET_AGAIN}") from None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, most: int) -> bytes:
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise BadInput(f"{path}: {member.name!r:.200} is no plain file; {GET_AGAIN}")
    if member.size > most:
        raise BadInput(f"{path}: {member.name!r:.200} is too large; {GET_AGAIN}")
    return file.read()
