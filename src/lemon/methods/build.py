"""Build the operators of a run, by its method or from an earlier run, and write its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.checkpoint import Checkpoint, write_model
from lemon.configuration.methods import METHODS
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, write_manifest
from lemon.files.ownership import owner_of_run
from lemon.files.storage import write_yaml
from lemon.methods.context import BuildContext
from lemon.methods.permutation import leading_permutation, truncation
from lemon.methods.start import OPERATORS, operators_of
from lemon.operators.algebra import Operators
from lemon.operators.file import save_operators
from lemon.operators.fuse import fuse_tensors
from lemon.provenance import file_digest

if TYPE_CHECKING:
    from lemon.configuration.planned_run import PlannedRun
    from lemon.configuration.project import Project


def start_operators(run: PlannedRun, source: Checkpoint, start: Path | None = None) -> Operators:
    """The operators of a run before any learning: those of its method, or of its start.

    `start` is the folder of the run that this one starts from, if any.

    Raises:
        BadInput: the source's sizes are not the preset's, the method can't build this target, or
            a start is missing.
    """
    require_source(run, source)
    context = BuildContext(source, run.target_shape, run.radii, run.seed)
    if run.start is not None:
        if start is None:
            raise BadInput(f"run {run.id}: the folder of its start {run.start.id} is not given")
        context = replace(context, start=operators_of(start, context))
    elif run.row.start:
        context = replace(context, start=builder_of(run.row.start)(context))
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
    """Write the folder of a run that learns nothing: see `write_run` and `leading_blocks`.

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
    inputs = {"source": source_digest} | start_input(start)
    write_run(project, run, "build", out, fused, operators, inputs=inputs, started=started)


def write_run(
    project: Project,
    run: PlannedRun,
    stage: str,
    out: Path,
    fused: Checkpoint,
    operators: Operators,
    *,
    files: Iterable[Path] = (),
    **manifest: Any,
) -> None:
    """Write a run's operators, its resolved config and, last, its manifest.

    `fused` is the model that the operators apply to; `files` are the run's other outputs.

    Raises:
        BadInput: the model is damaged, or `out` may not be written.
        WorkFailed: the disk is full, or a factor is not finite.
    """
    file, config, settings = out / OPERATORS, out / "config.yaml", project.resolved(run.id)
    save_operators(file, operators, source_digest=fused.digest(), method=run.method.name)
    write_yaml(config, settings)
    write_manifest(
        *(out / MANIFEST, stage),
        files=[file, config, *files],
        owner=owner_of_run(project.preset_name, run.id),
        settings=settings,
        seed=run.seed,
        **manifest,
    )


def leading_blocks(
    run: PlannedRun, source: Checkpoint, operators: Operators, out: Path
) -> tuple[Checkpoint, Operators]:
    """The model that a run fuses, and its operators in blocks.

    For a selection with receptive fields above 1, these are `permuted_source/`, written into `out`
    with the kept units first, and a truncation. Otherwise both are unchanged.
    """
    if not (run.row.radii and run.starts_from_masks):
        return source, operators
    folder = out / "permuted_source"
    permuted = fuse_tensors(source, leading_permutation(operators))
    write_model(
        folder,
        source.shape,
        permuted,
        like=source.path,
        dtype=source.dtype,
        stage="permute",
        started=time.monotonic(),
    )
    return Checkpoint(folder), truncation(operators, run.radii)


def start_input(start: Path | None) -> dict[str, str]:
    """For a run's manifest: the digest of the operators that it starts from, if any."""
    return {} if start is None else {"start": file_digest(start / OPERATORS)}


def builder_of(method: str) -> Callable[[BuildContext], Operators]:
    """The `build` function of a method's module.

    Raises:
        BadInput: the method builds no operators.
    """
    modules = {name: known.module for name, known in METHODS.items() if known.module}
    if method not in modules:
        known = ", ".join(modules)
        raise BadInput(f"method {method!r} builds no operators; those that do: {known}")
    return import_module(f"lemon.methods.{modules[method]}").build
