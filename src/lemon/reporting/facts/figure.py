"""What is gathered for every figure."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from lemon.configuration.paper import FigureSpec, TableSpec
from lemon.configuration.planned_run import PlannedRun
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.setup import Setup


@dataclass(frozen=True)
class FigureFacts:
    """A figure before it is judged and worded.

    Attributes:
        name, spec: its entry in `paper.yaml`.
        setup: the preset.
        runs: those that it shows.
        frame: the numbers, tidy.
        departures: settings that are not the paper's.
        inputs: digest by name of what was read.
    """

    name: str
    spec: FigureSpec | TableSpec
    setup: Setup
    runs: list[PlannedRun]
    frame: pd.DataFrame
    departures: list[Departure]
    inputs: dict[str, str]
