"""The matches of FFN neurons of neighbouring layers in tidy form, from files of `lemon match`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.reporting.facts.figure import FigureFacts, shared_facts
from lemon.reporting.facts.similarity_maps import panel_label, written_file

COLUMNS = ["layer", "unpermuted", "permuted", "elsewhere"]


def match_facts(project: Project, figure: str, runs: Path, *_: object) -> FigureFacts[FigureSpec]:
    """Gather a figure of matched correlation from the folder of the runs' folders.

    `frame` has one line for each pair of neighbouring layers. Its columns are those of
    `lemon.similarity.matching.Match`, after `panel`, `label` and `run`.

    Raises:
        BadInput: a file is missing, damaged or no such table.
    """
    spec = project.entry(figure)
    assert isinstance(spec, FigureSpec)
    parts = []
    for number, (panel, map) in enumerate(zip(spec.panels, spec.maps, strict=True)):
        place = {"panel": number, "label": panel_label(project, panel), "run": panel.run}
        parts.append(pd.DataFrame({**place, **_read(written_file(runs, map))}))
    shared = shared_facts(project, figure, {map.path: runs / map.path for map in spec.maps})
    return FigureFacts(**shared, frame=pd.concat(parts, ignore_index=True))


def _read(path: Path) -> pd.DataFrame:
    fault = f"{path}: is not a table of `lemon match`; remove it, rerun"
    try:
        lines = pd.read_csv(path)[COLUMNS]
        measured = lines.to_numpy(dtype=float)
    except (ValueError, KeyError):
        raise BadInput(fault) from None
    if not len(lines) or not np.isfinite(measured).all():
        raise BadInput(fault)
    return lines.round(6)
