"""Build the operators of a run, by its method or from an earlier run, and write its folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.checkpoint import Checkpoint, weights_in, write_checkpoint
from lemon.configuration.methods import METHODS
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, files_below, write_manifest
from lemon.files.ownership import owner_of_run
from lemon.files.storage import atomic_folder, write_yaml
from lemon.methods.context import BuildContext, Builder
from lemon.methods.permutation import leading_permutation, truncation
from lemon.methods.start import operators_of
from lemon.operators.algebra import Operators
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse_tensors
from lemon.provenance import file_digest

if TYPE_CHECKING:
    from torch import Tensor

    from lemon.configuration.planned_run import PlannedRun
    from lemon.configuration.project import Project


def start_operators(run: PlannedRun, source: Checkpoint, start: Path | None = None) -> Operators:
    """The operators of a run before any learning: those of its method, or of its start.

    Args:
        run: of a method that builds operators.
        source: the large model.
        start: folder of the run that this one starts from, if any.

    Raises:
        BadInput: the source's sizes are not the preset's, the method can't build this target, or
            a start is missing.
    """
    require_source(run, source)
    context = BuildContext(
        source=source,
        target=run.target_shape,
        radii=run.radii,
        seed=run.seed,
    )
    if run.start is not None:
        if start is None:
            raise BadInput(
                f"run {run.id}: the folder of run {run.start.id}, its start, is not given"
            )
        context = replace(context, start=operators_of(start))
    elif run.row.start:
        context = replace(context, start=builder_of(run.row.start))
    return builder_of(run.method.name)(context)


def require_source(run: PlannedRun, source: Checkpoint) -> None:
    """Refuse a source whose sizes differ from the preset's source or from the first stage's model.

    Raises:
        BadInput: naming the sizes that differ.
    """
    if source.shape != run.fused_shape:
        whose, fix = "the preset's source", "correct the preset or prepare the source again"
        if run.first_stage:
            whose, fix = f"the model of run {run.first_stage.id}", "give that model"
        differing = source.shape.difference(run.fused_shape)
        raise BadInput(f"{source.path}: is not of the sizes of {whose}: {differing}; {fix}")


def build(
    project: Project, run_id: str, source: Path, out: Path, start: Path | None = None
) -> None:
    """Write a run's operators, its resolved config and, last, its manifest.

    For a selection with receptive fields above 1, `permuted_source/` is written too (see
    `leading_blocks`); the operators are then fused with that model, not with the source.

    Raises:
        BadInput: the source is damaged, the run can't be built, or `out` may not be written.
        WorkFailed: the disk is full.
    """
    started = time.monotonic()
    run = project.run(run_id)
    checkpoint = Checkpoint(source)
    source_digest = checkpoint.digest()
    operators = start_operators(run, checkpoint, start)
    (out / MANIFEST).unlink(missing_ok=True)
    fused, operators = leading_blocks(run, checkpoint, operators, out)
    save_operators(
        out / "operators.safetensors",
        operators,
        source_digest=fused.digest(),
        method=run.method.name,
    )
    write_yaml(out / "config.yaml", project.resolved(run_id))
    write_manifest(
        out / MANIFEST,
        "build",
        files=[out / "operators.safetensors", out / "config.yaml"],
        owner=owner_of_run(project.preset_name, run_id),
        settings=project.resolved(run_id),
        inputs={"source": source_digest} | start_input(start),
        seed=run.seed,
        started=started,
    )


def leading_blocks(
    run: PlannedRun, source: Checkpoint, operators: Operators, out: Path
) -> tuple[Checkpoint, Operators]:
    """The model that a run fuses, and its operators in blocks.

    For a selection with receptive fields above 1, write `permuted_source/` into `out`, with the
    kept units first, and return it with the truncating operators. Otherwise both are unchanged.
    """
    if not (run.row.radii and run.starts_from_masks):
        return source, operators
    folder = out / "permuted_source"
    permuted = fuse_tensors(source, leading_permutation(operators))
    write_own_weights(folder, source, permuted, "permute", time.monotonic())
    return Checkpoint(folder), truncation(operators, run.radii)


def write_own_weights(
    folder: Path,
    source: Checkpoint,
    tensors: Iterable[tuple[str, Tensor]],
    stage: str,
    started: float,
) -> None:
    """Write a model of the source's sizes into a run's folder, atomically.

    Raises:
        WorkFailed: the disk is full, or a weight is not finite.
    """
    with atomic_folder(folder) as temporary:
        write_checkpoint(temporary, source.shape, tensors, like=source.path, dtype=source.dtype)
        write_manifest(
            temporary / MANIFEST,
            stage,
            files=files_below(temporary),
            started=started,
            **weights_in(temporary),
        )


def start_input(start: Path | None) -> dict[str, str]:
    """For a run's manifest: the digest of the operators that it starts from, if any."""
    return {} if start is None else {"start": file_digest(start / "operators.safetensors")}


def builder_of(method: str) -> Builder:
    """The `build` function of a method's module.

    Raises:
        BadInput: the method builds no operators.
    """
    modules = {name: known.module for name, known in METHODS.items() if known.module}
    if method not in modules:
        known = ", ".join(modules)
        raise BadInput(f"method {method!r} builds no operators; those that do: {known}")
    builder: Builder = import_module(f"lemon.methods.{modules[method]}").build
    return builder
