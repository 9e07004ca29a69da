"""One safetensors file: header checked without torch, tensors read and written one at a time.

Format: 8 bytes (little endian) give the length of a JSON header; the header maps each name to its
number format, shape and byte range; the ranges fill the rest of the file without holes
(https://huggingface.co/docs/safetensors). Files are not memory-mapped, so a job's peak memory
counts the tensors that it holds and not the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lemon.errors import BadInput, WorkFailed
from lemon.files.json_file import checked, parse_json

if TYPE_CHECKING:  # importing torch takes seconds; bad input must be reported before
    import torch

# Number formats of weights: name in the header -> (name in torch, bytes of one entry).
FORMATS = {"F32": ("float32", 4), "BF16": ("bfloat16", 2), "F16": ("float16", 2)}
INDEX_FORMATS = {"I16": ("int16", 2), "I32": ("int32", 4), "I64": ("int64", 8)}
_EVERY_FORMAT = {**FORMATS, **INDEX_FORMATS}
# By format: the unsigned type to view values in, and the exponent bits, all set in inf and NaN.
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger], int]] = {
    "F32": (np.uint32, 0x7F800000),
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
}
CHUNK_ENTRIES = 1 << 22
LONGEST_HEADER = 8 * 2**20  # bytes, for 50,000 tensors
_FIX = "it is damaged or was cut short; copy or prepare it again"


@dataclass(frozen=True)
class Entry:
    """Number format, shape and first byte of one tensor in its file."""

    format: str
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Size of the tensor in the file."""
        return math.prod(self.shape) * _EVERY_FORMAT[self.format][1]


class TensorFile:
    """A safetensors file opened for reading.

    Attributes:
        entries: format, shape and position of each tensor, by name.
        metadata: text values stored in the header.
    """

    def __init__(self, path: Path, *, indices: bool = False) -> None:
        """Read the header; with `indices` there may be whole numbers beside weights.

        BadInput if the file is missing, no safetensors file, truncated, or holds a tensor of
        another number format.
        """
        self.path = path
        self.metadata, places, data_start = _read_header(path)
        self.entries: dict[str, Entry] = {}
        end = 0
        for name, place in sorted(places.items(), key=lambda item: item[1].data_offsets):
            if place.dtype not in FORMATS and not (indices and place.dtype in INDEX_FORMATS):
                legal = (
                    f"and {', '.join(INDEX_FORMATS)} indices are read"
                    if indices
                    else "are supported, so save the model unquantised"
                )
                raise BadInput(
                    f"{path}: tensor {name} has number format {place.dtype[:20]}; only "
                    f"{', '.join(FORMATS)} weights {legal}"
                )
            start, stop = place.data_offsets
            entry = Entry(place.dtype, place.shape, data_start + start)
            if start != end or stop - start != entry.num_bytes or entry.num_bytes == 0:
                raise BadInput(f"{path}: the header has a wrong place for tensor {name}; {_FIX}")
            self.entries[name] = entry
            end = stop
        size, promised = path.stat().st_size, data_start + end
        if size != promised:
            raise BadInput(f"{path}: holds {size} bytes, its header promises {promised}; {_FIX}")

    def read(self, name: str, first: int = 0, last: int | None = None) -> torch.Tensor:
        """A copy of rows first to last - 1 of a tensor; by default all."""
        import torch

        entry = self.entries[name]
        rows = range(entry.shape[0])[first:last]
        row_bytes = entry.num_bytes // entry.shape[0]
        values = np.fromfile(
            self.path, np.uint8, len(rows) * row_bytes, offset=entry.offset + first * row_bytes
        )
        dtype = getattr(torch, _EVERY_FORMAT[entry.format][0])
        return torch.from_numpy(values).view(dtype).reshape(len(rows), *entry.shape[1:])

    def read_bytes(self, name: str, chunk: int = 1 << 22) -> Iterator[bytes]:
        """The stored bytes of a tensor, in chunks of this many bytes; two are held at once."""
        entry = self.entries[name]
        with self.path.open("rb") as file:
            file.seek(entry.offset)
            for start in range(0, entry.num_bytes, chunk):
                yield file.read(min(chunk, entry.num_bytes - start))


class _Place(BaseModel):
    model_config = ConfigDict(strict=True)

    dtype: str
    shape: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    data_offsets: Annotated[tuple[int, int], Field(strict=False)]


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, _Place], int]:
    """The metadata, the place of each tensor, and the offset at which the tensors start."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise BadInput(
                    f"{path}: holds {size} bytes, less than the {8 + length} of its header; {_FIX}"
                )
            if length > LONGEST_HEADER:
                raise BadInput(f"{path}: is not a safetensors file, its header is too long")
            text = file.read(length)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: can't be read: {error.strerror}") from error
    where = f"{path}: is not a safetensors file, its header can't be parsed"
    header = parse_json(text, dict[str, Any], where, _FIX)
    metadata = checked(header.pop("__metadata__", {}), dict[str, str], where, _FIX)
    return metadata, checked(header, dict[str, _Place], where, _FIX), 8 + length


def write_tensor_file(
    path: Path,
    shapes: dict[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    format: str,
    metadata: dict[str, str],
    indices: Mapping[str, str] | None = None,
) -> None:
    """Write tensors one at a time, rounding each value once to `format`.

    Args:
        path: the file; not atomic, so callers wrap it in an atomic file or folder.
        shapes: of every tensor; the header is written from them.
        tensors: each name of `shapes`, in any order; a tensor comes whole, or in successive slices
            of rows under the same name.
        format: a key of `FORMATS`.
        metadata: text stored in the header.
        indices: for each tensor of whole numbers a key of `INDEX_FORMATS` that holds its values.

    Raises:
        WorkFailed: a tensor holds a value that is not finite in this number format.
        ValueError: a tensor is missing, incomplete, given twice or of another shape.
    """
    header: dict[str, object] = {"__metadata__": metadata}
    formats = {name: (indices or {}).get(name, format) for name in shapes}
    end, ends, positions = 0, {}, {}
    for name, shape in shapes.items():
        positions[name], end = end, end + Entry(formats[name], shape, end).num_bytes
        ends[name], offsets = end, [positions[name], end]
        header[name] = {"dtype": formats[name], "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            known = name in shapes and tensor.shape[1:] == shapes[name][1:]
            end = positions[name] + Entry(formats[name], tensor.shape, 0).num_bytes if known else 0
            if not known or end > ends[name]:
                raise ValueError(f"{name} {tuple(tensor.shape)} does not belong in {path.name}")
            file.seek(8 + len(text) + positions[name])
            for chunk in _rounded_chunks(name, tensor, formats[name]):
                file.write(chunk.data)
            positions[name] = end
            del tensor, chunk  # each may be a view of a much larger tensor
    if unfinished := [name for name in shapes if positions[name] != ends[name]]:
        raise ValueError(f"{path.name} was not given all of {', '.join(unfinished)}")


def _rounded_chunks(name: str, tensor: torch.Tensor, format: str) -> Iterator[np.ndarray]:
    """The bytes of a tensor in the given format, in chunks to avoid a second full copy."""
    import torch

    dtype = getattr(torch, _EVERY_FORMAT[format][0])
    for chunk in tensor.detach().reshape(-1).split(CHUNK_ENTRIES):
        rounded = chunk.to("cpu", dtype).contiguous()
        stored = rounded.view(torch.uint8).numpy()
        if not all_finite(stored, format):
            raise WorkFailed(
                f"{name} has values that are not finite in {dtype}; the weights that it is made of "
                "are damaged or have diverged"
            )
        yield stored


def all_finite(stored: bytes | np.ndarray, format: str) -> bool:
    """Whether the values of these stored bytes are finite; in numpy, since torch's threads would
    take the core that hashes beside it.
    """
    if format in INDEX_FORMATS:
        return True
    unsigned, exponent = _EXPONENTS[format]
    return bool((np.frombuffer(stored, unsigned) & exponent).max(initial=0) < exponent)
