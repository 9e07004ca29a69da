"""The parts of a preset's finished work: what each job leaves, and the settings that it had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.planned_run import PlannedRun, snapshot_folder
from lemon.configuration.project import TIMES, Project
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import ABLATION, Suite, suites
from lemon.configuration.trials import Trial
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST
from lemon.files.storage import inside

TEXT = "data/text"
INFERENCE = f"runs/{TIMES}".removesuffix(".csv")
ROOMS = ("runs", "data")  # of the working folder; each has a folder for each preset
OPERATORS_FILE = "operators.safetensors"
TEXT_FILES = (MANIFEST, "floors.json")  # the packed text itself is prepared anew
Kind = Literal["operators", "outcomes", "map", "times", "text", "trial"]


@dataclass(frozen=True)
class PlannedPart:
    """What one job leaves, under one preset.

    Attributes:
        kind: `operators` of a run, if it has any, with what its training recorded; `outcomes` in
            one suite, of its model or of a snapshot; one `map` of similarity; the `times` of
            inference; the prepared `text`; or one `trial` of rates.
        name: its folder, or the path of its one file without suffix; below `runs/` or `data/`,
            without the preset's name.
        run, suite: the run that it belongs to, and the suite of outcomes, if any.
        settings: sha256 of the parameters of its stage in the workflow.
    """

    kind: Kind
    name: str
    run: PlannedRun | None
    suite: Suite | None
    settings: str

    @property
    def manifest(self) -> str:
        """The path of its manifest, named like the part."""
        single = self.kind in ("map", "times")  # a file in a folder of other files
        return f"{self.name}.{MANIFEST}" if single else f"{self.name}/{MANIFEST}"

    @property
    def left_out(self) -> dict[str, str]:
        """The files or folders that are too large for a bundle, with the reason."""
        run = self.run
        if self.kind == "text":
            return {f"{self.name}/*/*.bin": "prepared anew"}
        if run is None or self.kind != "operators":
            return {}
        if run.method.pretrains:
            models = ["model", *(f"{snapshot_folder(n)}/model" for n in run.snapshots.values())]
            return {f"{self.name}/{model}": "weights after training" for model in models}
        found = {f"{self.name}/model": "fused anew"}
        if run.own_weights is not None:
            found[f"{self.name}/{run.own_weights}"] = "weights of the source's size"
        if run.learns_widths:
            found[f"{self.name}/{OPERATORS_FILE}"] = "dense width factors"
        return found


def place_of(project: Project, folder: Path, path: str) -> Path:
    """Where a bundle's file lies in a working folder; BadInput outside of the preset's folders."""
    room, _, inner = path.partition("/")
    if room not in ROOMS:
        raise BadInput(f"{path!r:.200}: a bundle holds files in {' and '.join(ROOMS)} alone")
    return inside(folder / room / project.preset_name, inner)


def part_of_run(run: PlannedRun) -> str:
    """The name of the part that holds the operators of a run."""
    return f"runs/{run.id}"


def part_of_trial(trial: Trial) -> str:
    """The name of the part that holds what a trial left."""
    return f"runs/{trial.folder}"


def planned_parts(project: Project) -> dict[str, PlannedPart]:
    """Every part that the preset's jobs can leave, by name."""
    return {part.name: part for part in _parts(project)}


def _parts(project: Project) -> Iterator[PlannedPart]:
    def settings(stage: str, key: str | None = None, suite: str | None = None) -> str:
        params = stage_params(project, stage, key, suite)
        return hashlib.sha256(params.encode()).hexdigest()

    yield PlannedPart("text", TEXT, None, None, settings("text"))
    yield PlannedPart("times", INFERENCE, None, None, settings("time"))
    scored = suites(project.preset.evaluation).values()
    evaluated = {suite.name: settings("evaluate", None, suite.name) for suite in scored}
    for run in project.runs.values():
        name = part_of_run(run)
        if run.method.needs_target:
            made = settings(run.method.stage, run.id)
            yield PlannedPart("operators", name, run, None, made)
        for suite in scored:
            made = evaluated[suite.name]
            yield PlannedPart("outcomes", f"{name}/{suite.folder}", run, suite, made)
            if suite.name == ABLATION:
                for tokens in run.snapshots.values():
                    kept = f"{name}/{snapshot_folder(tokens)}/{suite.folder}"
                    yield PlannedPart("outcomes", kept, run, suite, made)
    for trial in project.every_trial:
        made = settings("trial", trial.name)
        yield PlannedPart("trial", part_of_trial(trial), None, None, made)
    figures = [entry for entry in project.tables.values() if isinstance(entry, FigureSpec)]
    for map in dict.fromkeys(map for figure in figures for map in figure.maps):
        path = f"runs/{map.path}".removesuffix(".csv")
        yield PlannedPart("map", path, project.run(map.run), None, settings(map.stage))
