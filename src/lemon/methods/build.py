"""Build the operators of a run, by its method or from an earlier run, and write its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lemon.checkpoint import Checkpoint
from lemon.configuration.methods import METHODS
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, write_manifest
from lemon.files.ownership import owner_of_run
from lemon.files.storage import write_yaml
from lemon.machine import compute_device, make_deterministic
from lemon.methods.calibration import ROWS, Calibration
from lemon.methods.context import BuildContext
from lemon.methods.kept_rounds import KeptRounds
from lemon.methods.permutation import leading_permutation, truncation
from lemon.methods.start import OPERATORS, operators_of
from lemon.model_folder import write_model
from lemon.operators.algebra import Operators
from lemon.operators.factor import one_hot
from lemon.operators.file import operators_digest, save_operators
from lemon.operators.fuse import fuse_tensors
from lemon.progress import say
from lemon.radii import Radii

if TYPE_CHECKING:
    from lemon.configuration.planned_run import PlannedRun
    from lemon.configuration.project import Project


def start_operators(
    run: PlannedRun,
    source: Checkpoint,
    start: Path | None = None,
    calibration: Calibration | None = None,
    kept_rounds: KeptRounds | None = None,
    record: dict[str, Any] | None = None,
) -> Operators:
    """The operators of a run before any learning: those of its method, or of its start.

    `start` is the folder of the run that this one starts from, if any. `kept_rounds` are those of
    its search, and `record` is filled with what the builder tells of its decisions. BadInput if the
    source's sizes are not the preset's.
    """
    require_source(run, source)
    context = BuildContext(
        *(source, run.target_shape, run.radii, run.seed),
        calibration=calibration,
        method=run.method.name,
        tied_ffn_layers=run.tied_ffn_layers,
        window_stride=run.calibration.window_stride,
        kept_rounds=kept_rounds or KeptRounds(),
        record={} if record is None else record,
    )
    if start is not None:
        context = replace(context, start=operators_of(start, context))
    elif run.row.start:
        context = replace(context, start=_built(run.row.start, context))
    return _built(run.method.name, context)


def _built(method: str, context: BuildContext) -> Operators:
    """What a method builds; BadInput if it is not what the run's target and the registry say."""
    operators, known = builder_of(method)(context), METHODS[method]
    if operators.target != context.target:
        differing = operators.target.difference(context.target)
        raise BadInput(
            f"method {method} built operators of other sizes than the run's target: {differing}; "
            f"correct src/lemon/methods/{known.module}.py, or take another target"
        )
    adds_up = any(one_hot(gamma) is None for gamma in operators.gamma.values())
    if adds_up and not (known.mixes or known.starts):
        raise BadInput(
            f"method {method} adds layers up, and the registry says that it selects them; write "
            "mixes=True into its row in src/lemon/configuration/methods.py"
        )
    return operators


def require_source(run: PlannedRun, source: Checkpoint) -> None:
    """BadInput if a source's sizes differ from the preset's source or the first stage's model."""
    if source.shape != run.fused_shape:
        whose, fix = "the preset's source", "correct the preset or prepare the source again"
        if run.first_stage:
            whose, fix = f"the model of run {run.first_stage.id}", "give that model"
        differing = source.shape.difference(run.fused_shape)
        raise BadInput(f"{source.path}: is not of the sizes of {whose}: {differing}; {fix}")


def build(
    project: Project,
    run_id: str,
    source: Path,
    out: Path,
    start: Path | None = None,
    text: Path | None = None,
    rounds: Path | None = None,
) -> None:
    """Write the folder of a run that learns nothing: see `write_run`.

    `start` is the folder of the run that it starts from, `text` the packed text of a method that
    depends on activations, `rounds` the folder that keeps the rounds of its search. BadInput if the
    source or the text is damaged or does not fit.
    """
    started = time.monotonic()
    run = project.run(run_id)
    checkpoint = Checkpoint(source)
    inputs = {"source": checkpoint.digest()} | start_input(start)
    calibration, kept = None, KeptRounds()
    if text is not None:
        make_deterministic()
        packed = PackedText(text, ("train", "tune"))
        inputs["text"] = packed.digest
        compute = project.preset.compute
        device = torch.device(compute_device(compute.device))
        calibration = Calibration.of_text(
            *(checkpoint, packed, run.calibration, run.learning.tune_sequences, run.seed),
            dtype=getattr(torch, compute.dtype),
            device=device,
        )
        say(
            f"{run_id}: at most {calibration.weights_bound / 1e6:.0f} MB of weights and "
            f"{calibration.states_bound / 1e6:.0f} MB of hidden states, and the activations of "
            f"{ROWS} rows"
        )
        if rounds is not None:
            kept = KeptRounds.of(
                rounds,
                device,
                search=run.method.name,
                seed=run.seed,
                calibration=run.calibration.model_dump(),
                config=checkpoint.config,
                dtype=compute.dtype,
                **inputs,
            )
    record: dict[str, Any] = {}
    operators = start_operators(run, checkpoint, start, calibration, kept, record)
    (out / MANIFEST).unlink(missing_ok=True)
    fused, operators = rearranged_source(run, checkpoint, operators, out)
    write_run(
        *(project, run, "build", out, fused, operators), inputs=inputs, started=started, **record
    )


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

    `fused` is the model that the operators apply to; `files` are the run's other outputs. BadInput
    if the model is damaged, WorkFailed if a factor is not finite.
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


def rearranged_source(
    run: PlannedRun, source: Checkpoint, operators: Operators, out: Path
) -> tuple[Checkpoint, Operators]:
    """The model that a run fuses, and the operators that it begins with.

    They are unchanged unless the run rearranges the source first (`PlannedRun.rearranged`). Kept
    units permuted to the front leave a truncation, which blocks can make; units placed side by side
    leave a gamma that adds up layers; a model that is fused leaves nothing. The rearranged model is
    written into `out`.
    """
    if run.rearranged is None:
        return source, operators
    if run.rearranged == "fused_source":
        first, rest = operators, Operators(operators.target, operators.target)
    elif run.rearranged == "placed_source":
        first = replace(operators, target=source.shape, gamma={})
        rest = replace(operators, radii=Radii(), attn={}, ffn={})
    else:
        first, rest = leading_permutation(operators), truncation(operators, run.radii)
    folder = out / run.rearranged
    write_model(
        folder,
        first.target,
        fuse_tensors(source, first),
        like=source.path,
        dtype=source.dtype,
        stage="rearrange",
        started=time.monotonic(),
    )
    return Checkpoint(folder), rest


def start_input(start: Path | None) -> dict[str, str]:
    """For a run's manifest: the digest of the operators that it starts from, if any."""
    return {} if start is None else {"start": operators_digest(start / OPERATORS)}


def builder_of(method: str) -> Callable[[BuildContext], Operators]:
    """The `build` function of a method's module; BadInput if either is missing."""
    module = f"lemon.methods.{METHODS[method].module}"
    try:
        return import_module(module).build
    except (ModuleNotFoundError, AttributeError) as error:
        if error.name not in (module, "build"):
            raise
        raise BadInput(
            f"method {method!r} has a row in the registry and no builder; write "
            f"build(context) in src/lemon/methods/{METHODS[method].module}.py"
        ) from None
