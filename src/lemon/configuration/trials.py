"""`trials/PRESET.tsv`, one line per trial: rates that are tried for one kind of run.

No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lemon.configuration.learning_settings import RateSettings
from lemon.configuration.runs import Run
from lemon.configuration.yaml_files import Problem, did_you_mean
from lemon.files.names import shown
from lemon.files.plain_text import NotPlain, read_text

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
        values: the rates in numbers.
    """

    rates: str
    run: str
    number: int
    values: RateSettings

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
    try:
        lines = read_text(path).rstrip("\n").split("\n")
    except NotPlain as fault:
        problems.append(Problem(path, fault.line, "", str(fault)))
        return {}
    if tuple(lines[0].split("\t")) != COLUMNS:
        names = " ".join(COLUMNS)
        problems.append(Problem(path, 1, "", f"the first line must name, tab-separated, {names}"))
        return {}
    if len(lines) > MOST_TRIALS:
        problems.append(Problem(path, 1, "", f"has more than {MOST_TRIALS:,} trials"))
        return {}
    trials: dict[str, list[Trial]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            trial = _trial(line.split("\t"), runs, trials)
        except _Fault as fault:
            problems.append(Problem(path, number, fault.column, str(fault)))
        else:
            trials.setdefault(trial.rates, []).append(trial)
    return trials


class _Fault(Exception):
    """What is wrong in a column."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def _trial(cells: list[str], runs: Mapping[str, Run], before: Mapping[str, list[Trial]]) -> Trial:
    if len(cells) != len(COLUMNS):
        raise _Fault("", f"has {len(cells)} tab-separated cells, not {len(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    rates, run_id = row["rates"], row["run"]
    known = {run.rates for run in runs.values() if run.rates}
    if rates not in known:
        raise _Fault(
            "rates", f"no run of runs.tsv names {shown(rates)}, {did_you_mean(rates, known)}"
        )
    of_them = [run.id for run in runs.values() if run.rates == rates]
    if run_id not in of_them:
        raise _Fault(
            "run", f"no run {shown(run_id)} has rates {rates}, {did_you_mean(run_id, of_them)}"
        )
    values: dict[str, Any] = {}
    for column in RATES:
        if row[column]:
            try:
                values[column] = float(row[column])
            except ValueError:
                raise _Fault(column, f"must be a number, not {shown(row[column])}") from None
    try:
        trial = Trial(rates, run_id, len(before.get(rates, ())) + 1, RateSettings(**values))
    except ValidationError as error:
        [*_, detail] = error.errors()
        raise _Fault(str(detail["loc"][0]), f"{detail['msg']}") from None
    for other in before.get(rates, ())[:1]:
        if other.run != run_id:
            raise _Fault(
                "run", f"the trials of {rates} before this one are of {other.run}; name it"
            )
        if other.values.model_fields_set != trial.values.model_fields_set:
            names = ", ".join(sorted(other.values.model_fields_set))
            raise _Fault("", f"the trials before this one give {names}; give the same")
    if not values:
        raise _Fault("", "tries no rate; give at least one")
    return trial
