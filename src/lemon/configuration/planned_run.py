"""Resolve the rows of `runs.tsv` under a preset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from math import ceil

from lemon.architecture import LlamaShape
from lemon.configuration.given_models import given_shape
from lemon.configuration.learning_settings import (
    LearningSettings,
    PretrainingSettings,
    PruningSettings,
    TrainingSettings,
)
from lemon.configuration.methods import METHODS, SECOND_SIZE, Method
from lemon.configuration.preset import CalibrationSettings, Preset, SourceSettings
from lemon.configuration.preset_checks import with_rates
from lemon.configuration.row_lookups import (
    as_many_tied_layers,
    changes_widths,
    fused_shape,
    named_shape,
    radii_of,
    rearranged_by,
    start_run,
    ties,
)
from lemon.configuration.runs import Run
from lemon.radii import Radii


@dataclass(frozen=True)
class PlannedRun:
    """One row of `runs.tsv` under one preset, with every name resolved.

    Attributes:
        row: the row as read, with symbolic names.
        source: the run whose model is fused; None for a given model, which is used unchanged.
        start: the earlier run named as start; None if the row names a method or nothing.
        start_run: the run with the operators that this one starts from: `start`, or the run of the
            method named as start with the same target, seed and source; None if there is none.
        given_model: the given model; None if a smaller model is made.
        fused_shape, target_shape: sizes of the model that is fused, and of the run's model.
        tied_ffn_layers: how many neighbouring layers of it share one FFN; 1 if none do.
        radii: receptive fields; 1 if the row names none.
        sequence_length: tokens of a row of text.
        tune_rows: rows of the tune text that it reads, of all domains.
        steps: optimiser steps; 0 if nothing is learned.
        tokens_per_step: tokens that one of them predicts.
        learning, pruning, pretraining: the preset's settings with the run's rates.
        snapshots: the steps after which pre-training keeps the model, each with the token count of
            the preset that it is for; before the last step, and only if a figure shows them.
        taught_by_source: whether it is a second stage whose teacher is the source model, not the
            model that it fuses.
    """

    row: Run
    method: Method
    source: PlannedRun | None
    start: PlannedRun | None
    start_run: PlannedRun | None
    given_model: SourceSettings | None
    fused_shape: LlamaShape
    target_shape: LlamaShape
    tied_ffn_layers: int
    radii: Radii
    sequence_length: int
    tune_rows: int
    steps: int
    tokens_per_step: int
    learning: LearningSettings
    pruning: PruningSettings
    pretraining: PretrainingSettings
    calibration: CalibrationSettings
    snapshots: Mapping[int, int]
    taught_by_source: bool

    @property
    def id(self) -> str:
        """The id in `runs.tsv`, which is also the folder's name."""
        return self.row.id

    @property
    def seed(self) -> int:
        """Seed of the method's random numbers and of the text order."""
        return self.row.seed

    @property
    def num_parameters(self) -> int:
        """Parameters of its model; tied FFNs and a tied head are counted once."""
        tied = self.tied_ffn_layers - 1
        return self.target_shape.num_parameters - tied * self.target_shape.ffn_parameters

    @property
    def training(self) -> TrainingSettings:
        """The optimiser, batches and checkpoints of its training."""
        return self.pretraining if self.method.pretrains else self.learning

    @property
    def earlier_models(self) -> dict[str, int]:
        """Of pre-training, the models before its last one, with the tokens that each has seen.

        They are named as their folders in the folder of runs: its start, then its snapshots.
        """
        kept = {
            f"{self.id}/{snapshot_folder(tokens)}": step * self.tokens_per_step
            for step, tokens in self.snapshots.items()
        }
        return ({self.first_stage.id: 0} if self.first_stage else {}) | kept

    @property
    def mixture_reference(self) -> bool:
        """Whether its pre-training needs the losses of the source model, to steer the mixture."""
        loading = self.pretraining.loading
        by_source = loading.update_every is not None and loading.reference == "source"
        return self.method.pretrains and by_source

    @property
    def first_stage(self) -> PlannedRun | None:
        """The run of the first stage if this one is the second of two; else None."""
        return self.source if self.source is not None and self.source.method.needs_target else None

    @property
    def changes_widths(self) -> bool:
        """Whether its widths differ from those of the model that it fuses."""
        return changes_widths(self.fused_shape, self.target_shape)

    @property
    def mixes_layers(self) -> bool:
        """Whether its gamma adds layers up: it is learned, or that of its start does.

        Where the model of the start trains, gamma was applied beforehand.
        """
        if self.rearranged == "fused_source":
            return False
        if self.start is not None and self.start.mixes_layers:
            return True
        named = METHODS.get(self.row.start or "", self.method)
        return self.method.learns_operators or self.method.mixes or named.mixes

    @property
    def learns_widths(self) -> bool:
        """Whether it learns operators of widths, which are dense and as large as weights."""
        return self.changes_widths and self.method.learns_operators

    @property
    def rearranged(self) -> str | None:
        """The folder, inside the run's, of the weights that are rearranged before they are fused.

        Blocks can't keep scattered units, so these are permuted to the front; and gamma alone can't
        place units of several layers side by side, so these are placed beforehand. Where the model
        of the start trains, it is fused beforehand.
        """
        return rearranged_by(self.start.method if self.start else None, self.row)

    @property
    def own_weights(self) -> str | None:
        """The folder, inside the run's, of the weights that its operators apply to.

        None if these are the weights of the fused model.
        """
        if self.method.trains_weights and not self.method.pretrains:
            return "trained_source"
        return self.rearranged


def plan_runs(
    preset: Preset, rows: Mapping[str, Run], with_snapshots: Collection[str] = ()
) -> dict[str, PlannedRun]:
    """Resolve every row, in the order of the file. The rows must have passed all checks.

    `with_snapshots` are the runs whose pre-training keeps the preset's snapshots.
    """
    needed = {
        row.id: {earlier for earlier in (start_run(rows, row), row.source) if earlier}
        for row in rows.values()
    }
    planned: dict[str, PlannedRun] = {}
    for run_id in TopologicalSorter(needed).static_order():
        keeps = run_id in with_snapshots
        planned[run_id] = _planned(preset, rows, rows[run_id], planned, keeps=keeps)
    return {run_id: planned[run_id] for run_id in rows}


def _planned(
    preset: Preset,
    rows: Mapping[str, Run],
    row: Run,
    planned: Mapping[str, PlannedRun],
    *,
    keeps: bool,
) -> PlannedRun:
    method = row.traits
    given = None
    if row.target is None:
        given = preset.second_size if row.method == SECOND_SIZE else preset.source
    source = planned.get(row.source or "")
    # A pre-trained model is a source model of its own, and teaches what is fused from it.
    second_stage = source is not None and source.method.fuses
    rated, steps = with_rates(preset, row.rates), preset.budgets[row.steps]
    training = rated.pretraining if method.pretrains else rated.learning
    text = preset.text
    tokens_per_step = training.batch_sequences * text.sequence_length
    counts = sorted(preset.pretraining.snapshots) if keeps and method.pretrains else []
    reached = {ceil(tokens / tokens_per_step): tokens for tokens in counts}
    large = fused_shape(preset, rows, row)
    small = given_shape(given) if given else named_shape(preset, row.target)
    tied = 1
    if ties(rows, row):
        tied, small = as_many_tied_layers(large, small), large
    return PlannedRun(
        row=row,
        method=method,
        source=source,
        start=planned.get(row.start or ""),
        start_run=planned.get(start_run(rows, row) or ""),
        given_model=given,
        fused_shape=large,
        target_shape=small,
        tied_ffn_layers=tied,
        radii=radii_of(preset, row),
        sequence_length=text.sequence_length,
        # The tune text has as many rows as the held-out one.
        tune_rows=min(training.tune_sequences, text.heldout_sequences) * len(text.domains),
        steps=steps,
        tokens_per_step=tokens_per_step,
        learning=rated.learning,
        pruning=rated.pruning,
        pretraining=rated.pretraining,
        calibration=preset.calibration,
        snapshots={step: tokens for step, tokens in reached.items() if step < steps},
        taught_by_source=(
            method.teaches
            and second_stage
            and not method.matches_states  # whose teacher has the layers that it merges
            and preset.fusion.stage_teacher == "source"
        ),
    )


def snapshot_folder(tokens: int) -> str:
    """The folder, inside the run's, of the model that is kept after so many tokens."""
    return f"snapshots/{tokens}"


def lineage(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """These runs, then all runs that they start from or whose models they fuse, each once."""
    found = {run.id: run for run in runs}
    waiting = list(found.values())
    for run in waiting:
        for earlier in (run.start, run.first_stage):
            if earlier is not None and earlier.id not in found:
                found[earlier.id] = earlier
                waiting.append(earlier)
    return list(found.values())
