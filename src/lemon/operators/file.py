"""The file in which operators are kept: safetensors, with what they belong to in its metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lemon.architecture import LlamaShape
from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import checked_file
from lemon.files.storage import atomic_file
from lemon.files.tensor_file import TensorFile, write_tensor_file
from lemon.operators.algebra import Operators, check_factors
from lemon.radii import Radii

FORMAT_VERSION = "1"
BUILD_AGAIN = "build or learn the operators again"


@dataclass(frozen=True)
class OperatorsMetadata:
    """What an operators file says about itself.

    Attributes:
        source_digest: digest of the model that the operators were made for
            (`Checkpoint.digest`).
        source: sizes of that model.
        target: sizes of the model that fusing gives.
        radii: receptive fields.
        method: name of the method that made them.
    """

    source_digest: str
    source: LlamaShape
    target: LlamaShape
    radii: Radii
    method: str


def save_operators(path: Path, operators: Operators, *, source_digest: str, method: str) -> None:
    """Write operators whole or not at all, in float32.

    Raises:
        BadInput: the place may not be written.
        WorkFailed: the disk is full, or a factor is not finite.
    """
    metadata = {
        "format": "pt",
        "format_version": FORMAT_VERSION,
        "source_digest": source_digest,
        "source": json.dumps(asdict(operators.source)),
        "target": json.dumps(asdict(operators.target)),
        "radii": json.dumps(asdict(operators.radii)),
        "method": method,
    }
    factors = dict(operators.named_tensors())
    shapes = {name: tuple(factor.shape) for name, factor in factors.items()}
    with atomic_file(path) as temporary:
        write_tensor_file(temporary, shapes, factors.items(), format="F32", metadata=metadata)


def read_metadata(path: Path) -> OperatorsMetadata:
    """Check an operators file by its header alone, without torch.

    Raises:
        BadInput: the file is missing, cut short, no operators file, of another format version, or
            its factors do not join the models that it names.
    """
    return _open(path)[1]


def load_operators(path: Path) -> tuple[Operators, OperatorsMetadata]:
    """Read and check an operators file.

    Raises:
        BadInput: as `read_metadata`, or a factor holds a value that is not finite.
    """
    file, metadata = _open(path)
    factors = {name: file.read(name).float() for name in file.entries}
    for name, factor in factors.items():
        if not factor.isfinite().all():
            raise BadInput(f"{path}: operator {name} holds values that are not finite")
    operators = Operators.from_named(factors, metadata.source, metadata.target, metadata.radii)
    return operators, metadata


def _open(path: Path) -> tuple[TensorFile, OperatorsMetadata]:
    file = TensorFile(checked_file(path) if path.is_file() else path)
    version = file.metadata.get("format_version")
    if version is None:
        raise BadInput(
            f"{path}: is not an operators file, its metadata has no format_version; name the "
            "operators.safetensors that `lemon build` or `lemon learn` wrote"
        )
    if version != FORMAT_VERSION:
        raise BadInput(
            f"{path}: has format version {version}, this version of lemon reads {FORMAT_VERSION}; "
            f"{BUILD_AGAIN}"
        )
    try:
        text = file.metadata
        metadata = OperatorsMetadata(
            source_digest=text["source_digest"],
            source=LlamaShape(**parse_json(text["source"], dict[str, Any], "source", BUILD_AGAIN)),
            target=LlamaShape(**parse_json(text["target"], dict[str, Any], "target", BUILD_AGAIN)),
            radii=Radii(**parse_json(text["radii"], dict[str, Any], "radii", BUILD_AGAIN)),
            method=text["method"],
        )
    except (KeyError, TypeError, BadInput) as error:
        raise BadInput(f"{path}: its metadata is damaged ({error}); {BUILD_AGAIN}") from None
    try:
        check_factors(_shapes(file), metadata.source, metadata.target, metadata.radii)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return file, metadata


def _shapes(file: TensorFile) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in file.entries.items()}
