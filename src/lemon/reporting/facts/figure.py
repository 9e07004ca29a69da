"""The common facts of all figures."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from lemon.configuration.figure_specs import CurvesSpec, FigureSpec
from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.setup import Setup


@dataclass(frozen=True)
class FigureFacts:
    """The facts of a figure, before verdicts and text.

    Attributes:
        name, spec: its entry in `paper.yaml`.
        frame: the numbers in tidy form.
        inputs: digests of the input files by name.
    """

    name: str
    spec: FigureSpec | CurvesSpec | TableSpec
    setup: Setup
    runs: list[PlannedRun]
    frame: pd.DataFrame
    departures: list[Departure]
    inputs: dict[str, str]
