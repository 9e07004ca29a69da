"""The registry of methods: each builds operators, and each is one file.

A new method is a new file with a `build(context) -> Operators`, a line in `BUILDERS` and its row
in `lemon.registry.METHODS`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods import average, cut, lemon, random
from lemon.methods.context import BuildContext, Builder
from lemon.operators.algebra import Operators
from lemon.operators.file import save_operators
from lemon.operators.radii import Radii
from lemon.provenance import write_manifest
from lemon.storage import write_yaml

if TYPE_CHECKING:
    from lemon.presets import Project

BUILDERS: dict[str, Builder] = {
    "cut": cut.build,
    "random": random.build,
    "average": average.build,
    "lemon": lemon.build,
    "lemon-trained": lemon.build,
}


def start_operators(project: Project, run_id: str, source: Checkpoint) -> Operators:
    """The operators of a run before any learning: of its method, or of its start.

    Raises:
        BadInput: the source's sizes are not the preset's, or the method can't build this target.
    """
    run = project.run(run_id)
    if source.shape != project.source_shape():
        raise BadInput(
            f"{source.path}: its sizes are {source.shape}, the preset's source section says "
            f"{project.source_shape()}; correct the preset or prepare the source again"
        )
    return _builder(run.method)(
        BuildContext(
            source=source,
            target=project.target_shape(run_id),
            radii=Radii.parse(run.radii) if run.radii else Radii(),
            seed=run.seed,
            start=_builder(run.start) if run.start else None,
        )
    )


def build(project: Project, run_id: str, source: Path, out: Path) -> None:
    """Write a run's operators, its resolved config and, last, its manifest.

    Raises:
        BadInput: the source is damaged, the run can't be built, or `out` may not be written.
        WorkFailed: the disk is full.
    """
    started = time.monotonic()
    run = project.run(run_id)
    checkpoint = Checkpoint(source)
    operators = start_operators(project, run_id, checkpoint)
    digest = checkpoint.digest()
    save_operators(
        out / "operators.safetensors", operators, source_digest=digest, method=run.method
    )
    write_yaml(out / "config.yaml", project.resolved(run_id))
    write_manifest(
        out / "manifest.json",
        "build",
        settings=project.resolved(run_id),
        inputs={"source": digest},
        seed=run.seed,
        started=started,
    )


def _builder(method: str) -> Builder:
    if method not in BUILDERS:
        raise BadInput(
            f"method {method!r} builds no operators; those that do: {', '.join(BUILDERS)}"
        )
    return BUILDERS[method]
