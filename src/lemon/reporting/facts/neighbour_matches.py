"""The matches of FFN neurons of neighbouring layers in tidy form, from files of `lemon match`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.provenance import file_digest
from lemon.reporting.facts.figure import FigureFacts
from lemon.reporting.facts.setup import setup_of
from lemon.reporting.facts.similarity_maps import panel_label, written_file

COLUMNS = ["layer", "unpermuted", "permuted", "elsewhere"]


@dataclass(frozen=True)
class MatchFacts(FigureFacts):
    """A figure of matched correlation; `frame` has one line for each pair of neighbouring layers.

    Its columns are those of `lemon.similarity.matching.Match`, after `panel`, `label` and `run`.
    """

    spec: FigureSpec


def match_facts(project: Project, figure: str, runs: Path, text: Path | None = None) -> MatchFacts:
    """Gather a figure of matched correlation from the folder of the runs' folders.

    Raises:
        BadInput: a file is missing, damaged or no such table.
    """
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    parts = []
    for number, (panel, map) in enumerate(zip(spec.panels, spec.maps, strict=True)):
        lines = _read(written_file(runs, map))
        place = {"panel": number, "label": panel_label(project, panel), "run": panel.run}
        parts.append(lines.assign(**place)[[*place, *COLUMNS]])
    return MatchFacts(
        name=figure,
        spec=spec,
        setup=setup_of(project),
        runs=[project.run(run) for run in spec.runs],
        frame=pd.concat(parts, ignore_index=True),
        departures=[],
        inputs={map.path: file_digest(runs / map.path) for map in spec.maps},
    )


def _read(path: Path) -> pd.DataFrame:
    fault = f"{path}: is not a table of `lemon match`; remove it, rerun"
    try:
        lines = pd.read_csv(path)
        measured = lines[COLUMNS].to_numpy(dtype=float)
    except (ValueError, KeyError):
        raise BadInput(fault) from None
    if not len(lines) or not np.isfinite(measured).all():
        raise BadInput(fault)
    return lines.round(6)
