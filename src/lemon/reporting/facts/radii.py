"""The paper's receptive fields and their radii in a preset's models.

Paper, section 3.4 and Table 4: a setting is named r_a-r_i. The radius of the hidden axis is not
stated; it is taken as r_i (method.md, open point 14).
"""

from __future__ import annotations

from dataclasses import dataclass

from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.published.models import SOURCE_MODEL, published_shape, published_target
from lemon.radii import Radii, named_radii


@dataclass(frozen=True)
class RadiiSetting:
    """One setting of the paper.

    Attributes:
        name: the paper's name.
        here, paper: the radii; None if the paper has no such name.
        share, paper_share: entries of all A_ffn as a percentage of the small model's parameters.
    """

    name: str
    here: Radii
    paper: Radii | None
    share: float
    paper_share: float | None


def radii_settings(project: Project, table: str) -> list[RadiiSetting]:
    """The settings of a table's runs and their starts that learn widths."""
    runs: dict[str, PlannedRun] = {}
    for run in lineage(map(project.run, project.table(table).runs)):
        if run.row.radii and run.learns_widths:
            runs.setdefault(run.row.radii, run)
    return [
        RadiiSetting(
            name=name,
            here=run.radii,
            paper=named_radii(name),
            share=run.radii.ffn_share(run.fused_shape, run.target_shape),
            paper_share=_paper_ffn_share(run),
        )
        for name, run in runs.items()
    ]


def _paper_ffn_share(run: PlannedRun) -> float | None:
    """`ffn_share` of the setting in the paper's models; None if the paper has no such model."""
    target, radii = published_target(run.row.target), named_radii(run.row.radii)
    if target is None or radii is None:
        return None
    source, first = published_shape(SOURCE_MODEL), run.first_stage
    fused = (published_target(first.row.target) if first else None) or source
    return radii.ffn_share(source.with_depth(fused.num_hidden_layers), target)
