"""Read and write operators files: safetensors, with source, target and method in the metadata.

Format version 2 stores a dense factor as a float32 matrix [out, in] and a one-hot factor as indices
[out], the input that each output copies, or -1 for an output that is zero. They are int16 if that
holds them, else int32; earlier files have int64. Version 1 stored every factor as a matrix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lemon.architecture import LlamaShape
from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import checked_file
from lemon.files.storage import atomic_file
from lemon.files.tensor_file import INDEX_FORMATS, TensorFile, write_tensor_file
from lemon.operators.algebra import Operators, check_factors, factor_shapes
from lemon.operators.factor import Dense, Factor, OneHot, one_hot
from lemon.provenance import file_digest
from lemon.radii import Radii

FORMAT_VERSION = "2"
READABLE_VERSIONS = ("1", FORMAT_VERSION)
SIZES = ("source", "target", "radii")  # stored as JSON
BUILD_AGAIN = "build or learn the operators again"


@dataclass(frozen=True)
class OperatorsMetadata:
    """The metadata of an operators file: sizes and receptive fields, as in `Operators`.

    `source_digest` is the `Checkpoint.digest` of the model that the operators were made for,
    `method` the name of the method that made them.
    """

    source_digest: str
    source: LlamaShape
    target: LlamaShape
    radii: Radii
    method: str


def save_operators(path: Path, operators: Operators, *, source_digest: str, method: str) -> None:
    """Write operators atomically: matrices in float32, one-hot factors as indices.

    Raises:
        BadInput: no permission to write there.
        WorkFailed: the disk is full, or a factor is not finite.
    """
    metadata = {
        "format": "pt",
        "format_version": FORMAT_VERSION,
        "source_digest": source_digest,
        "source": json.dumps(operators.source.sizes()),
        "target": json.dumps(operators.target.sizes()),
        "radii": json.dumps(vars(operators.radii)),
        "method": method,
    }
    factors = dict(operators.named_factors())
    indices = {n: _index_format(f) for n, f in factors.items() if isinstance(f, OneHot)}
    tensors = {n: f.chosen if isinstance(f, OneHot) else f.matrix for n, f in factors.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        write_tensor_file(
            *(temporary, shapes, tensors.items()), format="F32", metadata=metadata, indices=indices
        )


def _index_format(factor: OneHot) -> str:
    """The narrowest number format of its indices."""
    widths = ((format, 8 * width) for format, (_, width) in INDEX_FORMATS.items())
    return next(format for format, bits in widths if factor.num_inputs <= 2 ** (bits - 1))


def operators_digest(path: Path) -> str:
    """The sha256 of an operators file as if its indices were int64.

    A run's manifest names its start by this digest. Before indices were narrow it was that of the
    file, so a start that is built again, with narrow indices, is still the same start.

    Raises:
        BadInput: the file is damaged.
    """
    file = TensorFile(checked_file(path), indices=True)
    indices = [name for name, entry in file.entries.items() if entry.format in INDEX_FORMATS]
    if all(file.entries[name].format == "I64" for name in indices):
        return file_digest(path)
    with TemporaryDirectory() as folder:
        wide = Path(folder) / path.name
        write_tensor_file(
            wide,
            {name: entry.shape for name, entry in file.entries.items()},
            ((name, file.read(name)) for name in file.entries),
            format="F32",
            metadata=file.metadata,
            indices=dict.fromkeys(indices, "I64"),
        )
        return file_digest(wide)


def read_metadata(path: Path) -> OperatorsMetadata:
    """Check an operators file by its header alone, without torch.

    Raises:
        BadInput: the file is missing, truncated, no operators file, of an unknown format version,
            or its factors do not fit the sizes in its metadata.
    """
    return _open(path)[1]


def load_operators(path: Path) -> tuple[Operators, OperatorsMetadata]:
    """Read and check an operators file.

    Raises:
        BadInput: as `read_metadata`, or a value is not finite, or an index is out of range.
    """
    file, metadata = _open(path)
    factors = {}
    for name, (_, inputs) in _shapes(file, metadata).items():
        try:
            factors[name] = _factor(file, name, inputs)
        except BadInput as error:
            raise BadInput(f"{path}: operator {name} {error}; {BUILD_AGAIN}") from None
    operators = Operators.from_named(factors, metadata.source, metadata.target, metadata.radii)
    return operators, metadata


def _factor(file: TensorFile, name: str, inputs: int) -> Factor:
    stored = file.read(name)
    if file.entries[name].format in INDEX_FORMATS:
        return OneHot(stored.long(), inputs)
    if not stored.isfinite().all():
        raise BadInput("holds values that are not finite")
    factor = Dense(stored.float())
    first_version = file.metadata["format_version"] != FORMAT_VERSION
    return (one_hot(factor) or factor) if first_version else factor


def _open(path: Path) -> tuple[TensorFile, OperatorsMetadata]:
    file = TensorFile(checked_file(path) if path.is_file() else path, indices=True)
    version = file.metadata.get("format_version")
    if version is None:
        raise BadInput(
            f"{path}: is not an operators file, its metadata has no format_version; name the "
            "operators.safetensors that `lemon build` or `lemon learn` wrote"
        )
    if version not in READABLE_VERSIONS:
        raise BadInput(
            f"{path}: has format version {version}, this version of lemon reads "
            f"{' and '.join(READABLE_VERSIONS)}; {BUILD_AGAIN}"
        )
    try:
        text = file.metadata
        source, target, radii = (
            parse_json(text[name], dict[str, Any], name, BUILD_AGAIN) for name in SIZES
        )
        shapes = LlamaShape(**source), LlamaShape(**target)
        metadata = OperatorsMetadata(text["source_digest"], *shapes, Radii(**radii), text["method"])
    except (KeyError, TypeError, BadInput) as error:
        raise BadInput(f"{path}: its metadata is damaged ({error}); {BUILD_AGAIN}") from None
    try:
        check_factors(_shapes(file, metadata), metadata.source, metadata.target, metadata.radii)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return file, metadata


def _shapes(file: TensorFile, metadata: OperatorsMetadata) -> dict[str, tuple[int, ...]]:
    """The shape [out, in] of each factor; for indices, `in` follows from the models' sizes."""
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    legal = factor_shapes(metadata.source, metadata.target, metadata.radii)
    for name, entry in file.entries.items():
        if entry.format in INDEX_FORMATS and name in legal:
            if len(entry.shape) != 1:
                raise BadInput(f"operator {name} has indices {list(entry.shape)}, not one a row")
            shapes[name] = (*entry.shape, legal[name][1])
    return shapes
