"""The trials of learning rates of a preset, and which of them the preset's values come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.configuration.trials import Trial
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, read_manifest
from lemon.reporting.facts.gates import Gates, gates_of


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        loss: nats a token on the tune text after the last step; None if it diverged.
        gates: of a run that prunes.
        seconds: of learning.
    """

    trial: Trial
    loss: float | None
    gates: Gates | None
    seconds: float

    @property
    def values(self) -> dict[str, float]:
        """The rates that were tried, by name."""
        return self.trial.values.model_dump(exclude_none=True)

    @property
    def rank(self) -> tuple[bool, float]:
        """The smallest is the best: gates that settled come first, then the lower loss."""
        unsettled = self.gates is not None and not self.gates.converged
        return unsettled, float("inf") if self.loss is None else self.loss


@dataclass(frozen=True)
class TunedRates:
    """All trials of the same rates.

    Attributes:
        run: the run that was tried.
        in_preset: the preset's values.
    """

    name: str
    run: str
    results: tuple[TrialResult, ...]
    in_preset: dict[str, float]

    @property
    def best(self) -> TrialResult:
        """The trial with the lowest loss on the tune text, among those whose gates settled."""
        return min(self.results, key=lambda result: result.rank)

    @property
    def at_the_edge(self) -> list[str]:
        """The rates whose best value is the smallest or the largest that was tried."""
        best = self.best.values
        tried = {rate: [result.values[rate] for result in self.results] for rate in best}
        return [
            rate
            for rate, values in tried.items()
            if len(set(values)) > 1 and best[rate] in (min(values), max(values))
        ]

    def faults(self, most_trials: int) -> list[str]:
        """Why the preset's values are no fair choice; `most_trials` had the most tried rates."""
        found = [f"the best {rate} is at the edge of its grid" for rate in self.at_the_edge]
        if len(self.results) < most_trials:
            found.append(f"{len(self.results)} trials, others have {most_trials}")
        if self.in_preset != self.best.values:
            found.append("the preset has other values than the best trial")
        if self.best.loss is None:
            found.append("every trial diverged")
        return found


@dataclass(frozen=True)
class TuningFacts:
    """The facts of the table of trials."""

    name: str
    title: str
    settings: dict[str, Any]
    rates: list[TunedRates]

    @property
    def most_trials(self) -> int:
        """The number of trials of the rates that were tried most."""
        return max(len(one.results) for one in self.rates)


def tuning_facts(project: Project, table: str, runs: Path, text: Path | None = None) -> TuningFacts:
    """Gather the finished trials of a preset; no text is read.

    Raises:
        BadInput: the preset has no trials, or one is missing or damaged.
    """
    if not project.trials:
        path = project.config_dir / "trials" / f"{project.preset_name}.tsv"
        raise BadInput(f"{path}: no such file, so the preset has no trials of its rates")
    return TuningFacts(
        name=table,
        title=project.entry(table).title,
        settings={"preset": project.preset_name, "table": table, "config": project.digest()},
        rates=[
            TunedRates(
                name=name,
                run=trials[0].run,
                results=tuple(_result(runs / trial.folder, trial) for trial in trials),
                in_preset=project.preset.rates[name].model_dump(exclude_none=True)
                if name in project.preset.rates
                else {},
            )
            for name, trials in project.trials.items()
        ],
    )


def _result(folder: Path, trial: Trial) -> TrialResult:
    manifest = read_manifest(folder / MANIFEST)
    return TrialResult(
        trial, manifest.get("tune_loss"), gates_of(manifest), manifest.get("wall_s", 0.0)
    )
