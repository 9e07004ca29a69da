"""The trials of learning rates of a preset, and which of them the preset's values come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import fmean

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import RATES, Trial
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import MANIFEST, checked_file, read_manifest
from lemon.provenance import file_digest
from lemon.reporting.facts.gates import Gates, gates_of

# Nats a token. One seed does not tell apart rates that are nearer than this to the best.
TIE = 0.005


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        seed: of the run.
        values: the rates that it tried, by name; what it leaves out and another trial of the same
            rates varies is that of the preset's section.
        loss: nats a token on the tune text, of the model as it would be exported; None if the trial
            diverged.
        gates: of a run that prunes.
        seconds: of the training loop.
    """

    trial: Trial
    seed: int
    values: dict[str, float]
    loss: float | None
    gates: Gates | None
    seconds: float


@dataclass(frozen=True)
class TriedRates:
    """Rates that were tried, with one seed or several.

    Attributes:
        results: the trials, one a seed.
    """

    values: dict[str, float]
    results: tuple[TrialResult, ...]

    @property
    def loss(self) -> float | None:
        """The mean over the seeds; None if one diverged."""
        losses = [one.loss for one in self.results if one.loss is not None]
        return fmean(losses) if len(losses) == len(self.results) else None


@dataclass(frozen=True)
class TunedRates:
    """All trials of the same rates.

    Attributes:
        stage: `learn` or `pretrain`, which the runs with these rates belong to.
        run: the first run that was tried; empty without trials.
        results: the trials; empty if these rates were not tried.
        in_preset: the preset's values.
    """

    name: str
    stage: str
    run: str
    results: tuple[TrialResult, ...]
    in_preset: dict[str, float]

    @property
    def tried(self) -> list[TriedRates]:
        """The rates that were tried, each with the trials of all its seeds."""
        by_values: dict[tuple[float, ...], list[TrialResult]] = {}
        for result in self.results:
            by_values.setdefault(tuple(result.values.values()), []).append(result)
        return [TriedRates(several[0].values, tuple(several)) for several in by_values.values()]

    @property
    def finalists(self) -> list[TriedRates]:
        """Those that were tried with the most seeds, among which the best one is."""
        most = max((len(one.results) for one in self.tried), default=0)
        return [one for one in self.tried if len(one.results) == most]

    @property
    def best(self) -> TriedRates | None:
        """The finalist with the lowest loss on the tune text; None if there is none that ended.

        If it is at an edge of its grid, a finalist inside that ties with it (`TIE`) is taken.
        """
        ended = [(one.loss, one) for one in self.finalists if one.loss is not None]
        ended.sort(key=lambda pair: pair[0])
        tied = (one for loss, one in ended if loss - ended[0][0] < TIE and not self._edges(one))
        return next(tied, ended[0][1] if ended else None)

    @property
    def at_the_edge(self) -> list[str]:
        """The varied rates whose best value is the smallest or the largest that was tried."""
        return [] if self.best is None else self._edges(self.best)

    def _edges(self, of: TriedRates) -> list[str]:
        grid = {rate: [one.values[rate] for one in self.results] for rate in of.values}
        varied = [rate for rate in grid if rate not in self.fixed]
        return [rate for rate in varied if of.values[rate] in (min(grid[rate]), max(grid[rate]))]

    @property
    def fixed(self) -> list[str]:
        """The rates that have the same value in every trial."""
        first = self.results[0].values if self.results else {}
        return [rate for rate in first if len({one.values[rate] for one in self.results}) == 1]

    def faults(self, most_tried: int) -> list[str]:
        """Why the preset's values are no fair choice; of a rival `most_tried` rates were tried."""
        if not self.results:
            return ["not tried"]
        if self.best is None:
            return ["every trial diverged"]
        found = [f"the best {rate} is at the edge of its grid" for rate in self.at_the_edge]
        if len(self.tried) < most_tried:
            found.append(f"{len(self.tried)} rates tried, others have {most_tried}")
        first = [(one.results[0].loss, one) for one in self.tried]
        lowest = min((pair for pair in first if pair[0] is not None), key=itemgetter(0))[1]
        if lowest not in self.finalists:
            found.append(
                "the rates with the lowest loss of one seed were not tried with the others"
            )
        if self.in_preset != self.best.values:
            found.append("the preset has other values than the best trial")
        return found


@dataclass(frozen=True)
class TuningFacts:
    """The facts of the table of trials.

    Attributes:
        rates: every name in `runs.tsv`, in its order.
        inputs: digest of the manifest of each trial.
    """

    rates: list[TunedRates]
    inputs: dict[str, str]

    def most_tried(self, stage: str) -> int:
        """The most rates that were tried of a name of a stage: what learns the same are rivals."""
        return max(len(one.tried) for one in self.rates if one.stage == stage)


def tuning_facts(project: Project, table: str, runs: Path, *_: object) -> TuningFacts:
    """Gather the finished trials of a preset.

    Raises:
        BadInput: the preset has no trials, or one is missing, damaged or of other settings.
    """
    if not project.trials:
        path = project.config_dir / "trials" / f"{project.preset_name}.tsv"
        raise BadInput(f"{path}: lists no trial, so there is none of the preset's rates")
    stages: dict[str, str] = {}
    for run in project.runs.values():
        if run.row.rates:
            stages.setdefault(run.row.rates, run.method.stage)
    return TuningFacts(
        rates=[_tuned(project, name, stage, runs) for name, stage in stages.items()],
        inputs={
            trial.name: file_digest(runs / trial.folder / MANIFEST) for trial in project.every_trial
        },
    )


def _tuned(project: Project, name: str, stage: str, runs: Path) -> TunedRates:
    trials, in_preset = project.trials.get(name, []), project.preset.rates[name]
    if not trials:
        return TunedRates(name, stage, "", (), in_preset.model_dump(exclude_none=True))
    given = in_preset.model_fields_set.union(*(trial.rates_in_numbers for trial in trials))
    names = [rate for rate in RATES if rate in given]
    return TunedRates(
        name=name,
        stage=stage,
        run=trials[0].run,
        results=tuple(_result(project, trial, names, runs) for trial in trials),
        in_preset=_in_numbers(project.run(trials[0].run), names),
    )


def _in_numbers(run: PlannedRun, names: Sequence[str]) -> dict[str, float]:
    """These rates of a run, from the section that has them."""
    sections = (run.training, run.pruning)
    return {
        name: next(getattr(section, name) for section in sections if hasattr(section, name))
        for name in names
    }


def _result(project: Project, trial: Trial, names: Sequence[str], runs: Path) -> TrialResult:
    folder = runs / trial.folder
    manifest = read_manifest(folder / MANIFEST)
    settings, key = manifest.get("settings", {}), manifest.get("key")
    of_it = (settings.get("run"), settings.get("values")) == (trial.run, trial.rates_in_numbers)
    # The first trials recorded their rates, and not yet their key.
    if not of_it or key not in (None, stage_params(project, "trial", trial.name)):
        raise BadInput(
            f"{folder / MANIFEST}: is not of trial {trial.name} as the preset has it now; run "
            "`make tuning`, which tries it again"
        )
    events = read_events(checked_file(folder / "metrics.jsonl", folder / MANIFEST))
    seconds = events[-1]["wall_s"] if events else 0.0
    run = project.trying(trial).run(trial.run)
    return TrialResult(
        trial,
        seed=run.row.seed,
        values=_in_numbers(run, names),
        loss=manifest.get("tune_loss"),
        gates=gates_of(manifest),
        seconds=seconds,
    )
