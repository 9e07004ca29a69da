"""What the paper's receptive fields are in a preset, and why."""

from __future__ import annotations

from lemon.presets import Project
from lemon.reporting.model_sizes import paper_project
from lemon.reporting.operator_sizes import Fusion, numeric_radii
from lemon.reporting.sizes_document import Column, Group, SizesSection, percent
from lemon.siblings import dimension_cases

FFN = "intermediate"


def radii_section(project: Project) -> SizesSection:
    """Each named pair of radii in numbers, and how large the FFN operators are, there and here."""
    paper = paper_project(project)
    lines = []
    for name in project.preset.radii:
        radii = numeric_radii(project, name)
        here = _ffn_shares(_widths(project, name))
        there, mixed = ["", ""], ""
        if name in paper.preset.radii:
            there, mixed = _ffn_shares(_widths(paper, name)), _mixed(paper, name)
        lines.append(
            [
                name,
                *(str(radius) for radius in (radii.attention, radii.ffn, radii.hidden)),
                _mixed(project, name),
                mixed,
                here[0],
                there[0],
                here[1],
                there[1],
            ]
        )
    return SizesSection(
        f"Radii of the paper in preset {project.preset_name} ({project.preset.source.label})",
        [
            Column("Radii in the paper", words=True),
            Column("r_a"),
            Column("r_i"),
            Column("r_h"),
            Column("r_a mixes", words=True),
            Column("in the paper", words=True),
            Column("A_ffn: share of small model"),
            Column("in the paper"),
            Column("without embedding and head"),
            Column("in the paper"),
        ],
        [Group("", lines)],
    )


def radii_reason(project: Project) -> str:
    """Why the radii are mapped so, with the shares that say it, in a paragraph."""
    paper = paper_project(project)
    name = dimension_cases(project)[-1][1]
    here, there = _widths(project, name), _widths(paper, name)
    own, theirs = _ffn_shares(here), _ffn_shares(there)
    head, paper_head = here.source.head_dim, there.source.head_dim
    return (
        f"A radius of {paper_head} on the attention axis is the paper's head size, at which whole "
        f"heads are mixed; in preset {project.preset_name} it becomes this model's head size, "
        f"{head}; the section on radii says which part of a head the smaller ones mix. Small "
        "radii stay as they are, since equal r_i keep the FFN operators' share of the small model: "
        "A_ffn has H1 H2 / r_i² entries a layer beside 3 D2 H2 weights of the small FFN, a ratio "
        f"that only H1 / D2 changes, {_ratio(here)} here and {_ratio(there)} in the paper. At "
        f"r_i = {here.radii.ffn} the share is {own[0]} here and {theirs[0]} in the paper, {own[1]} "
        f"and {theirs[1]} without embedding and head."
    )


def _widths(project: Project, name: str) -> Fusion:
    """The preset's models of Table 4 at named radii."""
    target = dimension_cases(project)[0][0]
    return Fusion(
        project.preset_name,
        project.preset.source.label,
        target,
        project.source_shape(),
        project.shape_of(target),
        name,
        numeric_radii(project, name),
    )


def _mixed(project: Project, name: str) -> str:
    """What an attention radius ties, in heads."""
    parts = project.source_shape().head_dim / numeric_radii(project, name).attention
    return "whole heads" if parts <= 1 else f"1/{parts:g} of a head"


def _ratio(fusion: Fusion) -> str:
    return f"{fusion.source.intermediate_size / fusion.target.hidden_size:.2f}"


def _ffn_shares(fusion: Fusion) -> list[str]:
    entries = fusion.line(FFN).count
    return [percent(fusion.share(entries)), percent(fusion.share_of_layers(entries))]
