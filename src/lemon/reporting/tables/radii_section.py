"""What the paper's receptive fields become in the models of a preset, and why.

Paper, section 3.4 and Table 4: a setting is named r_a-r_i. The radius of the hidden axis is not
stated; it is taken as r_i (method.md, open point 14).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.project import Project, lineage
from lemon.operators.algebra import factor_shapes
from lemon.published.models import published_target
from lemon.radii import Radii
from lemon.reporting.facts.departures import learns_widths


@dataclass(frozen=True)
class RadiiLine:
    """One setting: its name in the paper, our radii, and what share the FFN operators take.

    The shares, in percent, are entries of all A_ffn over the parameters of the small model.
    """

    name: str
    attention: str
    ffn: str
    hidden: str
    share: str
    paper_share: str


@dataclass(frozen=True)
class RadiiSection:
    """The settings of a table and the reasons of the mapping."""

    lines: list[RadiiLine]
    note: str


def named_radii(name: str) -> Radii | None:
    """The paper's radii behind a name such as `128-2`, r_h = r_i; None behind any other name."""
    found = re.fullmatch(r"(\d+)-(\d+)", name)
    if not found:
        return None
    attention, ffn = map(int, found.groups())
    return Radii(hidden=ffn, attention=attention, ffn=ffn)


def dimension_parameters(source: LlamaShape, target: LlamaShape, radii: Radii) -> int:
    """Entries of the small factors of B, of every A_attn and of every A_ffn."""
    shapes = factor_shapes(source, target, radii)
    return sum(
        rows * columns for name, (rows, columns) in shapes.items() if not name.startswith("gamma.")
    )


def ffn_share(source: LlamaShape, target: LlamaShape, radii: Radii) -> float:
    """Entries of every A_ffn as a percentage of the small model's parameters."""
    shapes = factor_shapes(source, target, radii)
    entries = sum(rows * cols for name, (rows, cols) in shapes.items() if name.startswith("ffn."))
    return 100 * entries / target.num_parameters


def radii_section(project: Project, table: str) -> RadiiSection | None:
    """The settings of every run behind a table that learns widths; None where none does."""
    runs = {
        project.run(run).row.radii: run
        for run in reversed(lineage(project, project.table(table).runs))
        if project.run(run).row.radii
        and project.run(run).method.learns_operators
        and learns_widths(project, run)
    }
    if not runs:
        return None
    named = {name: run for name, run in reversed(runs.items()) if name}
    return RadiiSection(
        lines=[_line(project, name, run) for name, run in named.items()],
        note=" ".join(_reasons(project, named)),
    )


def _line(project: Project, name: str, run: str) -> RadiiLine:
    here = project.radii(run)
    paper = paper_ffn_share(project, run, name)
    return RadiiLine(
        name=name,
        attention=str(here.attention),
        ffn=str(here.ffn),
        hidden=str(here.hidden),
        share=f"{ffn_share(project.fused_shape(run), project.target_shape(run), here):.1f} %",
        paper_share="" if paper is None else f"{paper:.1f} %",
    )


def paper_ffn_share(project: Project, run: str, name: str) -> float | None:
    """`ffn_share` of a setting in the paper's models; None where it has no such model."""
    source, target = published_target(None), published_target(project.run(run).row.target)
    radii = named_radii(name)
    if source is None or target is None or radii is None:
        return None
    return ffn_share(source.with_depth(_depth_in_paper(project, run, source)), target, radii)


def _depth_in_paper(project: Project, run: str, source: LlamaShape) -> int:
    """The layers of the model that the paper's counterpart of a run fuses."""
    first = project.first_stage(run)
    stage = published_target(project.run(first).row.target) if first else None
    return (stage or source).num_hidden_layers


def _reasons(project: Project, runs: dict[str, str]) -> Iterable[str]:
    paper = published_target(None)
    pairs = {name: (named_radii(name), project.radii(run)) for name, run in runs.items()}
    known = [(theirs, ours) for theirs, ours in pairs.values() if theirs]
    head = project.source_shape().head_dim
    if paper is not None:
        for theirs, ours in dict.fromkeys((t.attention, o.attention) for t, o in known):
            if theirs == ours or theirs * head != ours * paper.head_dim:
                continue
            if theirs == paper.head_dim:
                yield (
                    f"r_a {theirs} is the head size of the paper's models and becomes the head "
                    f"size of this one, {ours}: whole heads are mixed."
                )
            else:
                yield f"r_a {theirs} becomes {ours}, the same part of a head."
    kept = {t.ffn: name for name, (t, ours) in pairs.items() if t and t.ffn == ours.ffn}
    if kept and any(theirs != ours for theirs, ours in known):
        finest = min(kept)
        run = runs[kept[finest]]
        here = ffn_share(project.fused_shape(run), project.target_shape(run), project.radii(run))
        in_paper = paper_ffn_share(project, run, kept[finest])
        shares = f"{here:.1f} % of the small model here"
        shares += "" if in_paper is None else f", {in_paper:.1f} % in the paper"
        yield (
            f"r_i {_listed(sorted(kept))} {'stays' if len(kept) == 1 else 'stay'}: at an equal "
            f"r_i the operators of the FFN take a like part (r_i = {finest}: {shares})."
        )
    if all(ours.hidden == ours.ffn for _, ours in pairs.values()):
        yield "The paper states no r_h; here it is r_i."


def _listed(values: Iterable[int]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
