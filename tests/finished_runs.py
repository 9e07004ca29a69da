"""A working folder with made-up runs as finished jobs leave them: operators, records, text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawn_figures import write_gamma
from fabricated_runs import write_runs, write_scored_text

from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.files.manifest import MANIFEST, read_manifest, write_manifest
from lemon.files.ownership import owner_of_prepared, owner_of_run
from lemon.files.storage import write_yaml


def write_finished(project: Project, table: str, folder: Path) -> Path:
    """Every run behind a table in `runs/`, and the text in `data/`, of a working folder."""
    runs = folder / "runs" / project.preset_name
    write_runs(project, table, runs, documents=8)
    shown = [project.run(run) for run in project.table_runs(table)]
    starts = [run.start_run for run in shown if run.start_run]
    for run in lineage([*shown, *starts]):
        if run.method.needs_target:
            _write_run(project, run, runs)
    write_text(project, folder)
    return folder


def _write_run(project: Project, run: PlannedRun, runs: Path) -> None:
    own = runs / run.id
    files = [own / "operators.safetensors", own / "config.yaml"]
    if run.method.pretrains:
        files.pop(0)
    elif run.changes_widths or run.first_stage:
        # Whoever packs, unpacks or renders a table does not open it.
        own.mkdir(parents=True, exist_ok=True)
        files[0].write_bytes(b"factors of " + run.id.encode())
    else:
        layers = run.target_shape.num_hidden_layers, run.fused_shape.num_hidden_layers
        write_gamma(project, runs, run.id, np.eye(*layers))
    write_yaml(files[-1], {"run": run.id})
    said: dict[str, object] = {}
    if run.method.learned:
        files.append(own / "metrics.jsonl")
        before = read_manifest(own / MANIFEST)
        kept = ("finished", "wall_s", "peak_memory_bytes", "code", "gates", "export")
        said = {name: before[name] for name in kept if name in before}
        said["key"] = stage_params(project, run.method.stage, run.id)
    if run.method.prunes:
        files.append(own / "masks.csv")
        files[-1].write_text("structure,layer,unit\nlayer,,0\n")
    if run.own_weights is not None:
        files.append(own / run.own_weights / MANIFEST)
        write_manifest(files[-1], "train", started=0.0)
    if run.method.needs_target:  # larger than all the rest, and never packed
        (own / "model").mkdir(exist_ok=True)
        (own / "model" / "model.safetensors").write_bytes(bytes(1000))
    write_manifest(
        own / MANIFEST,
        run.method.stage,
        files=files,
        owner=owner_of_run(project.preset_name, run.id),
        settings=project.resolved(run.id),
        started=0.0,
        **said,
    )


def write_text(project: Project, folder: Path) -> None:
    """Prepared text: its floors and one file of tokens, with their manifest."""
    text = folder / "data" / project.preset_name / "text"
    (text / "train").mkdir(parents=True)
    rows = text / "train" / "prose.bin"
    rows.write_bytes(bytes(100))
    write_scored_text(text, rows, owner=owner_of_prepared("text", project.preset_name))
