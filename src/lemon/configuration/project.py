"""A project: one preset with its runs, tables and assets, read by `lemon.configuration.load`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from lemon.architecture import LlamaShape
from lemon.configuration.assets import Asset
from lemon.configuration.figure_specs import CurvesSpec, FigureSpec, MergesSpec
from lemon.configuration.paper import PaperEntry, TableSpec, TrialsSpec, runs_with_snapshots
from lemon.configuration.planned_run import PlannedRun, plan_runs
from lemon.configuration.preset import Preset
from lemon.configuration.preset_checks import needed_assets
from lemon.configuration.row_lookups import named_shape
from lemon.configuration.tasks import Suite, suites, table_suites
from lemon.configuration.trials import Trial
from lemon.configuration.yaml_files import known_entry
from lemon.errors import BadInput

TIMES = "inference.csv"  # of `lemon time`, in the folder of runs
NUMBERED = re.compile(r"(table|figure)\d")


@dataclass(frozen=True)
class Project:
    """The checked configuration of one preset; `trials` are by the name of their rates."""

    preset_name: str
    preset: Preset
    runs: dict[str, PlannedRun]
    tables: dict[str, PaperEntry]
    assets: dict[str, Asset]
    trials: dict[str, list[Trial]]
    config_dir: Path = Path("config")

    def run(self, run_id: str) -> PlannedRun:
        """The run of `runs.tsv` with this id; BadInput if there is none."""
        return known_entry(self.runs, run_id, "runs.tsv has no run")

    @property
    def every_trial(self) -> list[Trial]:
        """All trials, in the order of their names and numbers."""
        return [trial for trials in self.trials.values() for trial in trials]

    def trials_of(self, rates: str) -> list[Trial]:
        """The trials of these rates, at least one; BadInput if there are none."""
        path = self.config_dir / "trials" / f"{self.preset_name}.tsv"
        return known_entry(self.trials, rates, f"{path}: no trial of rates")

    def trying(self, trial: Trial) -> Project:
        """The same project with the rates of a trial in place of the preset's."""
        rates = {**self.preset.rates, trial.rates: trial.values}
        preset = self.preset.model_copy(update={"rates": rates})
        rows = {name: run.row for name, run in self.runs.items()}
        return replace(self, preset=preset, runs=plan_runs(preset, rows))

    @property
    def whole(self) -> list[str]:
        """Of the target `everything`: each table and figure but that of trials, which are slow."""
        return [name for name, entry in self.tables.items() if not isinstance(entry, TrialsSpec)]

    @property
    def numbered(self) -> list[str]:
        """Of the target `all`: the paper's tables and figures, whose names have its numbers."""
        return [name for name in self.whole if NUMBERED.match(name)]

    def entry(self, name: str) -> PaperEntry:
        """The table or figure of `paper.yaml` with this name; BadInput if there is none."""
        return known_entry(self.tables, name, "paper.yaml has no table")

    def table(self, name: str) -> TableSpec:
        """The table or figure of scores with this name and the preset's tasks; BadInput if none."""
        entry = self.entry(name)
        if not isinstance(entry, TableSpec):
            raise BadInput(f"{name} shows no scores of runs")
        return entry

    def source_shape(self) -> LlamaShape:
        """The sizes of the source model."""
        return named_shape(self.preset, None)

    def shape_of(self, target: str) -> LlamaShape:
        """The sizes of a symbolic target; BadInput if the preset has no such target."""
        known_entry(self.preset.targets, target, f"preset {self.preset_name} has no target")
        return named_shape(self.preset, target)

    def table_runs(self, table: str) -> list[str]:
        """The runs of a table or figure; for scores the source first; none for sizes."""
        entry = self.entry(table)
        if not isinstance(entry, TableSpec):
            return entry.runs
        sources = [run.id for run in self.runs.values() if run.row.method == "source"]
        return list(dict.fromkeys(sources + entry.runs))

    def shown_models(self, table: str) -> dict[str, PlannedRun]:
        """The models that a table or figure shows, with the run that makes each.

        They are named as their folders in the folder of runs: the runs, and where an entry shows
        pre-training also what it starts from and keeps on its way.
        """
        shown = {name: self.run(name) for name in self.table_runs(table)}
        for run in map(self.run, runs_with_snapshots(self.entry(table))):
            start = run.first_stage
            for model in run.earlier_models:
                shown[model] = start if start is not None and model == start.id else run
        return shown

    def suite(self, name: str) -> Suite:
        """One suite of this preset's evaluation; BadInput if the preset has no task of it."""
        found = suites(self.preset.evaluation)
        return known_entry(found, name, f"preset {self.preset_name} has no task of the suite")

    def timed_shapes(self) -> list[LlamaShape]:
        """The shapes whose inference is timed: the source's, and of the models with costs."""
        entries = [entry for entry in self.tables.values() if isinstance(entry, TableSpec)]
        runs = [self.run(run) for entry in entries if entry.shows_costs for run in entry.runs]
        return list(dict.fromkeys([self.source_shape(), *(run.target_shape for run in runs)]))

    def figure_files(self, figure: str) -> list[str]:
        """The files in the folder of runs that an entry shows, beside the scores of its runs."""
        entry = self.entry(figure)
        if isinstance(entry, TableSpec) and entry.shows_costs:
            return [TIMES]
        if isinstance(entry, CurvesSpec | MergesSpec):
            return [f"{run}/manifest.json" for run in entry.runs]
        if not isinstance(entry, FigureSpec):
            return []
        if entry.renderer != "layer_operators":
            return [map.path for map in entry.maps]
        starts = [run.start_run.id for run in map(self.run, entry.runs) if run.start_run]
        return [f"{run}/manifest.json" for run in dict.fromkeys([*entry.runs, *starts])]

    def table_suites(self, table: str) -> tuple[str, ...]:
        """The suites of a table's scores; none if it shows no scores."""
        entry = self.entry(table)
        return table_suites(entry) if isinstance(entry, TableSpec) else ()

    def needed_assets(self) -> list[str]:
        """The keys of the assets that this preset needs."""
        return list(needed_assets(self.preset))

    def resolved(self, run_id: str) -> dict[str, Any]:
        """All settings of a run as plain values, for its config.yaml and manifest."""
        run, preset = self.run(run_id), self.preset
        sections = {"compute", "source", "text", "evaluation"}
        if run.row.radii or run.first_stage:
            sections.add("fusion")
        used = {"pretraining" if run.method.pretrains else "learning": run.training}
        more = {"pruning": run.method.prunes, "calibration": run.method.calibrates}
        used |= {name: getattr(run, name) for name, reads in more.items() if reads}
        return {
            "preset": self.preset_name,
            "run": run.row.model_dump(mode="json"),
            **({"radii": vars(run.radii)} if run.row.radii else {}),
            "steps": run.steps,
            "target_shape": run.target_shape.sizes(),
            "seed": preset.seed,
            **{name: settings.model_dump(mode="json") for name, settings in used.items()},
            **preset.model_dump(mode="json", include=sections),
        }

    def digest(self) -> str:
        """sha256 of the whole configuration, independent of comments and order."""
        parts = {
            "preset": self.preset,
            "runs": {name: run.row for name, run in self.runs.items()},
            "tables": self.tables,
            "assets": {name: self.assets[name] for name in self.needed_assets()},
        }
        text = canonical_json(to_jsonable_python(parts))
        return hashlib.sha256(text.encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


DIMENSION_TABLE = "table4"


def dimension_cases(project: Project) -> list[tuple[str, str]]:
    """The (target, radii) pairs of Table 4 that learn dimension operators, in its order."""
    runs = map(project.run, project.table_runs(DIMENSION_TABLE))
    learned = [run.row for run in runs if run.method.learns_operators]
    cases = [(row.target, row.radii) for row in learned if row.target and row.radii]
    return list(dict.fromkeys(cases))
