"""The trials of learning rates of a preset, and which of them the preset's values come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import Trial
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.files.manifest import MANIFEST, checked_file, read_manifest
from lemon.provenance import file_digest
from lemon.reporting.facts.gates import Gates, gates_of

# Nats a token. One seed does not tell apart trials that are nearer than this to the best.
TIE = 0.005


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        loss: nats a token on the tune text, of the model as it would be exported; None if the trial
            diverged.
        gates: of a run that prunes.
        seconds: of the training loop.
    """

    trial: Trial
    loss: float | None
    gates: Gates | None
    seconds: float

    @property
    def values(self) -> dict[str, float]:
        """The rates that were tried, by name."""
        return self.trial.rates_in_numbers


@dataclass(frozen=True)
class TunedRates:
    """All trials of the same rates.

    Attributes:
        stage: `learn` or `pretrain`, which the runs with these rates belong to.
        run: the run that was tried; empty without trials.
        results: the trials; empty if these rates were not tried.
        in_preset: the preset's values.
    """

    name: str
    stage: str
    run: str
    results: tuple[TrialResult, ...]
    in_preset: dict[str, float]

    @property
    def best(self) -> TrialResult | None:
        """The trial with the lowest loss on the tune text; None if there is none that ended.

        If it is at an edge of its grid, a trial inside that ties with it (`TIE`) takes its place.
        """
        ended = [(one.loss, one) for one in self.results if one.loss is not None]
        ended.sort(key=lambda pair: pair[0])
        tied = (one for loss, one in ended if loss - ended[0][0] < TIE and not self._edges(one))
        return next(tied, ended[0][1] if ended else None)

    @property
    def at_the_edge(self) -> list[str]:
        """The varied rates whose best value is the smallest or the largest that was tried."""
        return [] if self.best is None else self._edges(self.best)

    def _edges(self, result: TrialResult) -> list[str]:
        tried = {rate: [one.values[rate] for one in self.results] for rate in result.values}
        varied = [rate for rate in tried if rate not in self.fixed]
        return [r for r in varied if result.values[r] in (min(tried[r]), max(tried[r]))]

    @property
    def fixed(self) -> list[str]:
        """The rates that have the same value in every trial."""
        first = self.results[0].values if self.results else {}
        return [rate for rate in first if len({one.values[rate] for one in self.results}) == 1]

    def faults(self, most_trials: int) -> list[str]:
        """Why the preset's values are no fair choice; a rival had `most_trials`."""
        if not self.results:
            return ["not tried"]
        if self.best is None:
            return ["every trial diverged"]
        found = [f"the best {rate} is at the edge of its grid" for rate in self.at_the_edge]
        if len(self.results) < most_trials:
            found.append(f"{len(self.results)} trials, others have {most_trials}")
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

    def most_trials(self, stage: str) -> int:
        """The most trials that the rates of a stage had: what learns the same are rivals."""
        return max(len(one.results) for one in self.rates if one.stage == stage)


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
        rates=[
            TunedRates(
                name=name,
                stage=stage,
                run=next((trial.run for trial in project.trials.get(name, ())), ""),
                results=tuple(_result(project, t, runs) for t in project.trials.get(name, ())),
                in_preset=project.preset.rates[name].model_dump(exclude_none=True),
            )
            for name, stage in stages.items()
        ],
        inputs={
            trial.name: file_digest(runs / trial.folder / MANIFEST) for trial in project.every_trial
        },
    )


def _result(project: Project, trial: Trial, runs: Path) -> TrialResult:
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
    return TrialResult(trial, manifest.get("tune_loss"), gates_of(manifest), seconds)
