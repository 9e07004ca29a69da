"""`trials/PRESET.tsv`, one line per trial: rates that are tried for one kind of run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lemon.configuration.learning_settings import RateSettings
from lemon.configuration.methods import RATES_OF
from lemon.configuration.runs import NONE, Mistake, Run, table_lines
from lemon.configuration.yaml_files import Problem, did_you_mean, mistakes_of
from lemon.files.names import shown

RATES = tuple(RateSettings.model_fields)
COLUMNS = ("rates", "run", *RATES)
MOST_TRIALS = 1000


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        rates: the symbolic rates of `runs.tsv` that are tried.
        run: the run that learns with them.
        number: its place, from 1, among the trials of these rates.
        values: the rates in numbers; what it leaves out is that of the preset's sections.
    """

    rates: str
    run: str
    number: int
    values: RateSettings

    @property
    def rates_in_numbers(self) -> dict[str, float]:
        """The rates that it gives, by name."""
        return self.values.model_dump(exclude_none=True)

    @property
    def name(self) -> str:
        """Its name among all trials of the preset: `operators/1`."""
        return f"{self.rates}/{self.number}"

    @property
    def folder(self) -> str:
        """Its folder, in that of the runs."""
        return f"tuning/{self.name}"


def read_trials(
    path: Path, runs: Mapping[str, Run], problems: list[Problem]
) -> dict[str, list[Trial]]:
    """The trials of a preset by the name of their rates; none if there is no such file.

    Every mistake is appended to `problems`.
    """
    if not path.is_file():
        return {}
    trials: dict[str, list[Trial]] = {}
    for number, line in table_lines(path, COLUMNS, MOST_TRIALS, "trials", problems).items():
        found = _trial(line.split("\t"), runs, trials)
        if isinstance(found, Trial):
            trials.setdefault(found.rates, []).append(found)
        else:
            problems.append(Problem(path, number, *found))
    return trials


def _trial(
    cells: list[str], runs: Mapping[str, Run], before: Mapping[str, list[Trial]]
) -> Trial | Mistake:
    if len(cells) != len(COLUMNS):
        return "", f"has {len(cells)} tab-separated cells, not {len(COLUMNS)}"
    row = dict(zip(COLUMNS, cells, strict=True))
    rates, run_id = row["rates"], row["run"]
    known = {run.rates for run in runs.values() if run.rates}
    if rates not in known:
        hint = did_you_mean(rates, known)
        return "rates", f"no run of runs.tsv names {shown(rates)}, {hint}"
    of_them = [run.id for run in runs.values() if run.rates == rates]
    if run_id not in of_them:
        hint = did_you_mean(run_id, of_them)
        return "run", f"no run {shown(run_id)} has rates {rates}, {hint}"
    given = {rate: row[rate] for rate in RATES if row[rate] not in ("", NONE)}
    method = runs[run_id].traits
    used = {rate for kind in method.learns for rate in RATES_OF[kind]}
    for rate in given:
        if rate not in used:
            return rate, f"{method.name} does not use it; write {NONE}"
    if not given:
        return "", "tries no rate; give at least one"
    try:
        values = RateSettings.model_validate(given, strict=False)  # the cells are text
    except ValidationError as error:
        (column,), message = next(mistakes_of(error, given, RateSettings))
        return str(column), message
    earlier = before.get(rates, [])
    # The trials of the same rates are of one run, with one seed or several, and differ.
    for other in earlier:
        if other.run != run_id and not _of_another_seed(runs[other.run], runs[run_id]):
            message = f"the trials of {rates} before this one are of {other.run}; name it, or a "
            return "run", message + "run that differs from it in its seed alone"
        if (other.run, other.values) == (run_id, values):
            return "", f"repeats trial {other.number} of {rates}; try other rates"
    return Trial(rates, run_id, len(earlier) + 1, values)


def _of_another_seed(one: Run, other: Run) -> bool:
    """Whether they differ in their seed alone, and in the run of that seed that they start from."""
    own = {"id", "seed", "start"}
    return one.seed != other.seed and one.model_dump(exclude=own) == other.model_dump(exclude=own)
