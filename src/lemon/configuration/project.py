"""A project: one preset with its runs, tables and assets, ready to be asked.

`lemon.configuration.load` reads and checks it. No torch is imported here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemon.architecture import LlamaShape
from lemon.configuration.assets import Asset
from lemon.configuration.methods import METHODS, SECOND_SIZE
from lemon.configuration.paper import FigureSpec, PaperEntry, TableSpec
from lemon.configuration.preset import LearningSettings, Preset, PruningSettings, SourceSettings
from lemon.configuration.preset_checks import (
    given_shape,
    merged_learning,
    merged_pruning,
    needed_assets,
    source_shape,
    target_shape,
)
from lemon.configuration.run_checks import fused_shape, radii_of, start_run
from lemon.configuration.runs import Run
from lemon.configuration.tasks import Suite, suites, table_suites
from lemon.configuration.yaml_files import (
    did_you_mean,
)
from lemon.errors import BadInput
from lemon.radii import Radii


@dataclass(frozen=True)
class Project:
    """The whole configuration of one preset, checked."""

    preset_name: str
    preset: Preset
    runs: dict[str, Run]
    tables: dict[str, PaperEntry]
    assets: dict[str, Asset]
    config_dir: Path = Path("config")

    def run(self, run_id: str) -> Run:
        """The row of `runs.tsv` with this id.

        Raises:
            BadInput: there is none.
        """
        if run_id not in self.runs:
            raise BadInput(f"runs.tsv has no run {run_id}, {did_you_mean(run_id, self.runs)}")
        return self.runs[run_id]

    def entry(self, name: str) -> PaperEntry:
        """The table or figure of `paper.yaml` with this name.

        Raises:
            BadInput: there is none.
        """
        if name not in self.tables:
            raise BadInput(f"paper.yaml has no table {name}, {did_you_mean(name, self.tables)}")
        return self.tables[name]

    def table(self, name: str) -> TableSpec:
        """The table or figure of scored runs with this name, cut to the preset's tasks.

        Raises:
            BadInput: there is none, or it shows no scores.
        """
        entry = self.entry(name)
        if not isinstance(entry, TableSpec):
            raise BadInput(f"{name} shows no scores of runs")
        return entry

    def source_shape(self) -> LlamaShape:
        """The sizes of the source model."""
        return source_shape(self.preset)

    def given_model(self, run_id: str) -> SourceSettings | None:
        """The model that a run takes as it is; None where it makes a smaller one."""
        run, preset = self.run(run_id), self.preset
        if run.target is not None:
            return None
        return preset.second_size if run.method == SECOND_SIZE else preset.source

    def target_shape(self, run_id: str) -> LlamaShape:
        """The sizes of the model that a run ends with."""
        target, given = self.run(run_id).target, self.given_model(run_id)
        if target is not None:
            return self.shape_of(target)
        assert given is not None  # a preset without a second size has no such run
        return given_shape(given)

    def shape_of(self, target: str) -> LlamaShape:
        """The sizes of a symbolic target.

        Raises:
            BadInput: the preset has no such target.
        """
        if target not in self.preset.targets:
            known = did_you_mean(target, self.preset.targets)
            raise BadInput(f"preset {self.preset_name} has no target {target}, {known}")
        return target_shape(self.source_shape(), self.preset.targets[target])

    def fused_shape(self, run_id: str) -> LlamaShape:
        """The sizes of the model that a run fuses: the source's, or those of its first stage."""
        return fused_shape(self.preset, self.runs, self.run(run_id))

    def first_stage(self, run_id: str) -> str | None:
        """The run whose model a run takes on, where it is the second of two stages."""
        source = self.run(run_id).source
        return source if source and METHODS[self.runs[source].method].needs_target else None

    def taught_by_source(self, run_id: str) -> bool:
        """Whether a run is a second stage whose teacher is not the model that it fuses."""
        teaches = METHODS[self.run(run_id).method].teaches
        apart = self.preset.fusion.stage_teacher == "source"
        return teaches and apart and self.first_stage(run_id) is not None

    def changes_widths(self, run_id: str) -> bool:
        """Whether the model of a run has other widths than the one that it fuses."""
        source, target = self.fused_shape(run_id), self.target_shape(run_id)
        return source.with_depth(target.num_hidden_layers) != target

    def radii(self, run_id: str) -> Radii:
        """The receptive fields of a run; 1 where it names none."""
        return radii_of(self.preset, self.run(run_id))

    def learning(self, run_id: str) -> LearningSettings:
        """The learning settings of a run: the preset's, with the run's own overrides."""
        self.run(run_id)
        return LearningSettings.model_validate(merged_learning(self.preset, run_id))

    def pruning(self, run_id: str) -> PruningSettings:
        """How the masks of a run learn: the preset's settings, with the run's own overrides."""
        self.run(run_id)
        return PruningSettings.model_validate(merged_pruning(self.preset, run_id))

    def steps(self, run_id: str) -> int:
        """The optimiser steps of a run; 0 where nothing is learned."""
        return self.preset.budgets[self.run(run_id).steps]

    def own_weights(self, run_id: str) -> str | None:
        """The folder, inside the run's, of the weights that its operators apply to.

        None where these are the source's.
        """
        run = self.run(run_id)
        if METHODS[run.method].trains_weights:
            return "trained_source"
        # Blocks can't keep scattered units: what a selection keeps is brought to the front first.
        return "permuted_source" if run.radii and self.starts_from_masks(run_id) else None

    def start_run(self, run_id: str) -> str | None:
        """The run whose operators are those that a run starts from; None where there is none.

        That is the earlier run that it names, or the row of the method that it names with the same
        target, seed and source.
        """
        return start_run(self.runs, self.run(run_id))

    def starts_from_masks(self, run_id: str) -> bool:
        """Whether the operators of a run begin as the selection of an earlier run's masks."""
        start = self.runs.get(self.run(run_id).start or "")
        return start is not None and METHODS[start.method].prunes

    def table_runs(self, table: str) -> list[str]:
        """The runs that fill a table or figure, of scores the source first; none for sizes."""
        entry = self.entry(table)
        if not isinstance(entry, TableSpec):
            return entry.runs
        sources = [run.id for run in self.runs.values() if run.method == "source"]
        return list(dict.fromkeys(sources + entry.runs))

    def suite(self, name: str) -> Suite:
        """One suite of this preset's evaluation.

        Raises:
            BadInput: the preset has no task of it.
        """
        found = suites(self.preset.evaluation)
        if name not in found:
            raise BadInput(
                f"preset {self.preset_name} has no task of the suite {name}; it has those of "
                f"{', '.join(found)}"
            )
        return found[name]

    def figure_files(self, figure: str) -> list[str]:
        """What a figure of weights, activations or operators is drawn from, in the folder of runs.

        Nothing for a figure of scores.
        """
        entry = self.entry(figure)
        if not isinstance(entry, FigureSpec):
            return []
        if entry.renderer != "layer_operators":
            return [map.path for map in entry.maps]
        starts = filter(None, map(self.start_run, entry.runs))
        return [f"{run}/manifest.json" for run in dict.fromkeys([*entry.runs, *starts])]

    def table_suites(self, table: str) -> tuple[str, ...]:
        """The suites that a table's scores are from; none where it shows no scores."""
        entry = self.entry(table)
        return table_suites(entry) if isinstance(entry, TableSpec) else ()

    def needed_assets(self) -> list[str]:
        """The keys of the assets that this preset takes."""
        return list(needed_assets(self.preset))

    def resolved(self, run_id: str) -> dict[str, Any]:
        """Everything that decides a run, in plain values: for its config.yaml and manifest."""
        preset = self.preset
        parts = {"compute", "source", "text", "evaluation"}
        run = self.run(run_id)
        prunes = METHODS[run.method].prunes
        if run.radii is not None or self.first_stage(run_id):
            parts.add("fusion")
        return {
            "preset": self.preset_name,
            "run": run.model_dump(mode="json"),
            **({"radii": vars(self.radii(run_id))} if run.radii else {}),
            "steps": self.steps(run_id),
            "target_shape": vars(self.target_shape(run_id)),
            "seed": preset.seed,
            "learning": self.learning(run_id).model_dump(mode="json"),
            **({"pruning": self.pruning(run_id).model_dump(mode="json")} if prunes else {}),
            **preset.model_dump(mode="json", include=parts),
        }

    def digest(self) -> str:
        """sha256 of the whole configuration; comments and order don't count."""
        parts = {
            "preset": self.preset.model_dump(mode="json"),
            **{
                name: {key: row.model_dump(mode="json") for key, row in rows.items()}
                for name, rows in (
                    ("runs", self.runs),
                    ("tables", self.tables),
                    ("assets", {key: self.assets[key] for key in self.needed_assets()}),
                )
            },
        }
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON that equal values always share: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


DIMENSION_TABLE = "table4"


def dimension_cases(project: Project) -> list[tuple[str, str]]:
    """The (target, radii) at which Table 4 learns dimension operators, in its order.

    Raises:
        BadInput: `paper.yaml` has no such table.
    """
    runs = [project.run(run_id) for run_id in project.table_runs(DIMENSION_TABLE)]
    return list(
        dict.fromkeys(
            (run.target, run.radii)
            for run in runs
            if run.target and run.radii and "operators" in METHODS[run.method].learns
        )
    )


def lineage(project: Project, run_ids: Iterable[str]) -> list[str]:
    """These runs, then every run that they start from or fuse the model of, each once."""
    found = dict.fromkeys(run_ids)
    earlier = [
        run
        for run_id in found
        for run in (project.run(run_id).start, project.first_stage(run_id))
        if run in project.runs and run not in found
    ]
    return lineage(project, [*found, *earlier]) if earlier else list(found)
