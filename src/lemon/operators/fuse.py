"""Applying operators to a model folder, tensor by tensor.

Paper, section 3.5: widths first, on every source layer, then the layer mix; norms (the final one
included), embedding and head by B. Of the source one tensor is in memory at a time, beside as
many unfinished target tensors as fit in the memory of the model's two largest tensors: the source
is then read a few times instead of once per target layer, and the peak does not grow with depth.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.architecture import LAYER_TYPES, TensorSpec, layer_tensor_name, tensor_specs
from lemon.checkpoint import Checkpoint, check_replaceable, write_checkpoint
from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.operators.file import load_operators, read_metadata
from lemon.provenance import write_manifest
from lemon.storage import atomic_folder

if TYPE_CHECKING:
    import torch

CHUNK_ENTRIES = 1 << 22  # of a tensor that is mapped along its columns, at a time


def fuse(source_dir: Path, operators_file: Path, out_dir: Path) -> None:
    """Write the small model as a Hugging Face folder, in the number format of the source.

    Fused weights are summed in float32 and rounded once.

    Raises:
        BadInput: the model or the operators file is damaged, they do not belong together, or
            `out_dir` can't be written. Found from headers and digests, before torch is imported.
        WorkFailed: the disk is full, or a fused weight is not finite.
    """
    started = time.monotonic()
    source = Checkpoint(source_dir)
    metadata = read_metadata(operators_file)
    if out_dir.resolve() == source_dir.resolve():
        raise BadInput(f"{out_dir}: is the source model itself; name another folder")
    check_replaceable(out_dir)
    digest = source.digest()
    if digest != metadata.source_digest:
        raise BadInput(
            f"{operators_file}: made for a source model with digest {metadata.source_digest}, but "
            f"{source_dir} has digest {digest}; fuse with the model that they were built from, or "
            "build them again"
        )
    operators, _ = load_operators(operators_file)
    with atomic_folder(out_dir) as folder:
        write_checkpoint(
            folder,
            operators.target,
            fuse_tensors(source, operators),
            like=source_dir,
            dtype=source.dtype,
        )
        write_manifest(
            folder / "manifest.json",
            "fuse",
            settings={"method": metadata.method, "radii": str(metadata.radii)},
            inputs={"source": digest},
            started=started,
        )


def fuse_tensors(source: Checkpoint, operators: Operators) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the small model, in float32, type by type.

    Where gamma is one-hot and no width is mapped the values are the source's, bit for bit.

    Raises:
        BadInput: the operators are for another shape than the source's.
    """
    if operators.source != source.shape:
        raise BadInput(f"{source.path}: the operators are for a model of other sizes")
    targets = list(tensor_specs(operators.target))
    for spec in targets:
        if spec.layer is None:
            yield spec.name, _mapped(source, operators, source.specs[spec.name])
    for type in LAYER_TYPES:
        layers = [spec for spec in targets if spec.type == type]
        block = _layers_in_memory(source, layers[0])
        for first in range(0, len(layers), block):
            yield from _mixed(source, operators, layers[first : first + block])


def _mixed(
    source: Checkpoint, operators: Operators, targets: list[TensorSpec]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Target tensors of one type: `sum_j gamma[i, j] * mapped W[j]`, one source layer at a time."""
    import torch

    type = targets[0].type
    assert type is not None
    coefficients = _coefficients(operators, type, [spec.layer for spec in targets])
    sums: list[torch.Tensor | None] = [None] * len(targets)
    for layer in range(source.shape.num_hidden_layers):
        users = [row for row, weights in enumerate(coefficients) if weights[layer]]
        if not users:
            continue
        mapped = _mapped(source, operators, source.specs[layer_tensor_name(type, layer)])
        for row in users:
            weight, sum_so_far = coefficients[row][layer], sums[row]
            if sum_so_far is None:
                sums[row] = mapped * weight
            else:
                sum_so_far.add_(mapped, alpha=weight)
    for row, spec in enumerate(targets):
        finished, sums[row] = sums[row], None
        yield spec.name, torch.zeros(spec.shape) if finished is None else finished
        del finished


def _mapped(source: Checkpoint, operators: Operators, spec: TensorSpec) -> torch.Tensor:
    """`Row_j W[j] Col_j^T` in float32, in memory of its own.

    The columns come first and in chunks of rows, so that only one of the two is ever held whole
    in both number formats: an embedding is by far the largest tensor of a small model.
    """
    import torch

    weight = source.tensor(spec.name)
    with torch.no_grad():
        columns = operators.axis_map(spec.axes[-1], spec.layer) if len(spec.axes) == 2 else None
        if columns:
            width = operators.target.axis_size(spec.axes[-1])
            mapped = weight.new_empty((weight.shape[0], width), dtype=torch.float32)
            rows_at_a_time = max(1, CHUNK_ENTRIES // weight.shape[1])
            for chunk, place in zip(
                weight.split(rows_at_a_time), mapped.split(rows_at_a_time), strict=True
            ):
                place.copy_(columns.columns(chunk.float()))
            weight = mapped
        weight = weight.float()
        rows = operators.axis_map(spec.axes[0], spec.layer)
        return rows.rows(weight) if rows else weight


def _coefficients(operators: Operators, type: str, layers: list[int | None]) -> list[list[float]]:
    """The rows of gamma of these target layers; rows of the identity where gamma is absent."""
    import torch

    gamma = operators.gamma.get(type)
    if gamma is None:
        gamma = torch.eye(operators.source.num_hidden_layers)
    return [gamma[layer].tolist() for layer in layers]


def _layers_in_memory(source: Checkpoint, target: TensorSpec) -> int:
    """How many float32 tensors like `target` fit in the size of the source's two largest."""
    two_largest = sum(sorted(map(source.num_bytes, source.specs))[-2:])
    return max(1, two_largest // (4 * target.num_elements))
