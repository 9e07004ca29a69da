"""Apply operators to a model folder, tensor by tensor.

Paper, section 3.5: widths first, on every source layer, then the layer mix; norms (including the
final one), embedding and head are mapped by B.

The unit of work is a slab: the same few output rows of all layers, for one parameter type. The
mapped rows of every source layer are stacked, and one product with gamma gives the rows of every
target layer. The two largest tensors bound the size of a slab, so peak memory does not grow with
depth. Without a row map each source weight is read once. With a dense one, a layer's weight is read
again for each slab; with a one-hot one, only the range of rows that the slab needs.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, compress
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.architecture import TensorSpec, layer_tensor_name, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, write_manifest
from lemon.files.ownership import owner_of_made, replaced_folder, require_replaceable
from lemon.model_folder import model_digests, write_checkpoint
from lemon.operators.algebra import Operators
from lemon.operators.factor import NOTHING, OneHot, keeping
from lemon.operators.file import load_operators, read_metadata
from lemon.operators.receptive_field import AxisMap

if TYPE_CHECKING:
    import torch


def fuse(source_dir: Path, operators_file: Path, out_dir: Path) -> None:
    """Write the small model as a Hugging Face folder, in the number format of the source.

    Fused weights are summed in float32 and rounded once.

    Raises:
        BadInput: the model or the operators file is damaged, they do not belong together, or
            `out_dir` can't be written.
        WorkFailed: the disk is full, or a fused weight is not finite.
    """
    started = time.monotonic()
    source = Checkpoint(source_dir)
    metadata = read_metadata(operators_file)
    owner = owner_of_made("fuse", operators_file, out_dir)
    require_replaceable(out_dir, owner)
    if metadata.source != source.shape:
        raise BadInput(
            f"{operators_file}: made for a source model of other sizes than {source_dir}: "
            f"{metadata.source.difference(source.shape)}; fuse with the model that they were built "
            "from"
        )
    operators, _ = load_operators(operators_file)

    def require_built_from(digest: str) -> None:
        if digest != metadata.source_digest:
            raise BadInput(
                f"{operators_file}: made for a source model with digest {metadata.source_digest}, "
                f"but {source_dir} has digest {digest}; fuse with the model that they were built "
                "from, or build them again"
            )

    # Digests take as long as fusing: the source's is taken beside all that is read and written.
    with ThreadPoolExecutor(1) as beside, replaced_folder(out_dir, owner) as folder:
        digesting = beside.submit(source.digest)
        try:
            write_checkpoint(
                *(folder, operators.target, fuse_slices(source, operators)),
                like=source_dir,
                dtype=source.dtype,
                tied_ffn=operators.tied_ffn,
            )
            digests = model_digests(folder)
        except Exception:  # a damaged or wrong source is named before what it led to
            require_built_from(digesting.result())
            raise
        digest = digesting.result()
        require_built_from(digest)
        write_manifest(
            folder / MANIFEST,
            "fuse",
            owner=owner,
            settings={"method": metadata.method, "radii": str(metadata.radii)},
            inputs={"source": digest},
            started=started,
            **digests,
        )


def fuse_tensors(source: Checkpoint, operators: Operators) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the small model, whole and in float32, with layers of one type together.

    Raises:
        BadInput: the operators are for another shape than the source's.
    """
    import torch

    num_rows = {spec.name: spec.shape[0] for spec in tensor_specs(operators.target)}
    slices: dict[str, list[torch.Tensor]] = {name: [] for name in num_rows}
    for name, rows in fuse_slices(source, operators):
        slices[name].append(rows.float())
        if sum(map(len, slices[name])) == num_rows[name]:
            yield name, torch.cat(slices.pop(name))


def fuse_slices(source: Checkpoint, operators: Operators) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the small model as successive slices of its rows, in float32.

    What is only selected comes as stored: the source's values, bit for bit.

    Raises:
        BadInput: the operators are for another shape than the source's.
    """
    import torch

    if operators.source != source.shape:
        raise BadInput(f"{source.path}: the operators are for a model of other sizes")
    targets = list(tensor_specs(operators.target))
    for spec in targets:
        if spec.layer is None:
            yield from _slabs(source, operators, [source.specs[spec.name]], [spec], torch.eye(1))
    identity = torch.eye(source.shape.num_hidden_layers)
    for type, tensor in source.shape.layer_tensors.items():
        large = [spec for spec in source.specs.values() if spec.type == type]
        small = [spec for spec in targets if spec.type == type]
        gamma = operators.gamma.get(tensor.follows)
        mix = identity if gamma is None else gamma.dense()
        yield from _slabs(source, operators, large, small, mix)


def fused_layer(
    source: Checkpoint, operators: Operators, index: int, without: Container[str] = ()
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of one layer of the small model, by key of LAYER_TENSORS, one after the other.

    Those of `without` are left out. Each is in float32; beside it one source tensor is held.
    """
    identity = keeping(range(source.shape.num_hidden_layers), source.shape.num_hidden_layers)
    for type, tensor in source.shape.layer_tensors.items():
        if type in without:
            continue
        row = operators.gamma.get(tensor.follows, identity).outputs(index, index + 1).dense()[0]
        total: torch.Tensor | None = None
        for j in row.nonzero().flatten().tolist():
            spec = source.specs[layer_tensor_name(type, j)]
            small = operators.target.axis_size(spec.axes[0])
            weight = _mapped_rows(source, operators, spec, 0, small)
            if total is None:
                total = weight.float().mul_(row[j])
            else:
                total.add_(weight, alpha=float(row[j]))
            del weight
        assert total is not None  # no builder leaves a row of gamma zero
        yield type, total


def _slabs(
    source: Checkpoint,
    operators: Operators,
    large: list[TensorSpec],
    small: list[TensorSpec],
    gamma: torch.Tensor,
) -> Iterator[tuple[str, torch.Tensor]]:
    """`sum_j gamma[i, j] * Row_j W[j] Col_j^T` for all i, one slab of rows at a time."""
    used = {j: spec for j, spec in enumerate(large) if gamma[:, j].any()}
    if all(row.count_nonzero() == 1 and row.max() == 1 for row in gamma):  # layers are selected
        for spec, row in zip(small, gamma, strict=True):
            kept = large[int(row.argmax())]
            yield spec.name, _mapped_rows(source, operators, kept, 0, spec.shape[0])
        return
    row_maps = [operators.axis_map(spec.axes[0], spec.layer) for spec in used.values()]
    unit = max((row_map.rows_per_unit for row_map in row_maps if row_map), default=1)
    num_rows = small[0].shape[0]
    unit_bytes = 4 * unit * (small[0].num_elements // num_rows) * (len(used) + len(small))
    slab = unit * max(1, _memory_allowed(source) // unit_bytes)
    for first in range(0, num_rows, slab):
        last = min(first + slab, num_rows)
        yield from _slab(source, operators, used, small, gamma, first, last)


def _memory_allowed(source: Checkpoint) -> int:
    """Bytes for slabs: twice the two largest tensors as stored.

    While a slab is filled, one layer's weight is also held in both number formats; the total never
    exceeds four times the two largest tensors.
    """
    return 2 * sum(sorted(map(source.num_bytes, source.specs))[-2:])


def _slab(
    source: Checkpoint,
    operators: Operators,
    used: dict[int, TensorSpec],
    small: list[TensorSpec],
    gamma: torch.Tensor,
    first: int,
    last: int,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Rows first to last - 1 of every target, from the source layers j in `used`.

    If a row of gamma has one nonzero entry, only that source layer is scaled; the others, times
    zero, are not added.
    """
    import torch

    stack = torch.empty(len(used), last - first, *small[0].shape[1:])
    for place, spec in zip(stack, used.values(), strict=True):
        place.copy_(_mapped_rows(source, operators, spec, first, last))
    rows = gamma[:, list(used)]
    sums = [i for i, row in enumerate(rows) if row.count_nonzero() != 1]
    # Equal neighbouring rows are summed once, so that the weights that they tie are the same bits.
    new = [n == 0 or not rows[i].equal(rows[sums[n - 1]]) for n, i in enumerate(sums)]
    distinct = rows[list(compress(sums, new))]
    mixed = (distinct @ stack.flatten(1)).unflatten(1, stack.shape[1:])
    for spec, row in zip(small, rows, strict=True):
        if row.count_nonzero() == 1:
            only = int(row.nonzero())
            yield spec.name, stack[only] if row[only] == 1 else stack[only] * row[only]
    for i, place in zip(sums, accumulate(new), strict=True):
        yield small[i].name, mixed[place - 1]


def _mapped_rows(
    source: Checkpoint, operators: Operators, spec: TensorSpec, first: int, last: int
) -> torch.Tensor:
    """Rows first to last - 1 of `Row_j W[j] Col_j^T`, in float32, or as stored if only copied."""
    import torch

    with torch.no_grad():
        row_map = operators.axis_map(spec.axes[0], spec.layer)
        if row_map is None:
            weight = source.rows(spec.name, first, last)
        elif isinstance(row_map.factor, OneHot):
            numbered = torch.arange(1, spec.shape[0] + 1)  # 0 is left for outputs that are zero
            chosen = row_map.output_rows(first, last).rows(numbered) - 1
            low, high = map(int, chosen.clamp(min=0).aminmax())
            rows = source.rows(spec.name, low, high + 1)
            kept = OneHot((chosen - low).clamp(min=NOTHING), len(rows))
            weight = AxisMap(kept, radius=1).rows(rows)
        else:
            weight = source.tensor(spec.name).float()
            weight = row_map.output_rows(first, last).rows(weight)
        column_map = operators.axis_map(spec.axes[-1], spec.layer) if len(spec.axes) > 1 else None
        if column_map is None:
            return weight
        copied = isinstance(column_map.factor, OneHot)
        return column_map.columns(weight if copied else weight.float())
