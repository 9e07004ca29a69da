"""Table 1 as a reader sees it."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from lemon.configuration.project import Project
from lemon.reporting.facts.model_sizes import LLAMA2_13B_LABEL
from lemon.reporting.facts.operator_sizes import (
    PAPER_RADII,
    PAPER_SMALL,
    Fusion,
    OperatorLine,
    published_operators,
)
from lemon.reporting.tables.document import (
    Column,
    Group,
    SizesDocument,
    SizesSection,
    count,
    millions,
    percent,
    signed_count,
    table_title,
)


def operator_sizes_document(project: Project, table: str, found: list[Fusion]) -> SizesDocument:
    """Format Table 1: beside the paper, at every preset's radii, and family by family."""
    return SizesDocument(
        title=table_title(table, project.entry(table).title),
        subtitle=f"Computed from the shapes of {len(found)} pairs of models and radii; Table 4 "
        "says how the paper's radii are mapped",
        sections=[
            _beside_paper(next(fusion for fusion in found if fusion.published)),
            _totals(found),
            _families(found),
        ],
        notes=_notes(found),
    )


def _beside_paper(fusion: Fusion) -> SizesSection:
    """The one case of which there are published counts."""
    printed = published_operators()
    lines = []
    for line in fusion.lines:
        paper = printed[line.operator]
        squared = int(paper["count_7b_to_2p7b_all_r2"])
        first = int(paper["count_if_printed_power_all_r2"])
        lines.append(
            [
                line.operator,
                paper["symbol"].replace("gamma", "γ"),
                paper["shape_as_printed"].replace("*", "·"),
                _factor(line),
                count(line.count),
                count(squared),
                signed_count(line.count - squared),
                count(line.printed),
                count(first),
                signed_count(line.printed - first),
                f"{line.printed / line.count:.3g}",
                percent(fusion.share(line.count), 2),
            ]
        )
    return SizesSection(
        f"{fusion.label} to {PAPER_SMALL}, r = {fusion.radii.ffn} on every axis, beside the paper",
        [
            Column("Operator", words=True),
            Column("Symbol", words=True),
            Column("Shape as printed", words=True),
            Column("Small factors", words=True),
            Column("Count, r²"),
            Column("Published, r²"),
            Column("Difference"),
            Column("Count, first power"),
            Column("Published, first power"),
            Column("Difference"),
            Column("Ratio"),
            Column("Share of small model"),
        ],
        [Group("", lines)],
        "Published: the counts of published/table1.csv, worked from the paper's formulas, since it "
        "prints none.",
    )


def _totals(found: list[Fusion]) -> SizesSection:
    """One line a pair of models and radii."""
    return SizesSection(
        "At the radii of Table 4",
        [
            Column("Radii in the paper", words=True),
            Column("r_h, r_a, r_i", words=True),
            Column("B"),
            Column("A_attn"),
            Column("A_ffn"),
            Column("All, r²"),
            Column("All, first power"),
            Column("Ratio"),
            Column("Small model"),
            Column("Share of it, r²"),
            Column("Share, first power"),
        ],
        [
            Group(heading, [_total(fusion) for fusion in own])
            for heading, own in groupby(found, _heading)
        ],
        "All: what is trained, without the identity between equal depths. Counts from a million "
        "on are rounded; the CSV has them exactly.",
    )


def _total(fusion: Fusion) -> list[str]:
    radii = fusion.radii
    return [
        fusion.radii_name,
        f"{radii.hidden}, {radii.attention}, {radii.ffn}",
        *(millions(fusion.line(name).count) for name in ("hidden", "attention", "intermediate")),
        millions(fusion.count),
        millions(fusion.printed),
        f"{fusion.printed / fusion.count:.2f}",
        millions(fusion.target.num_parameters),
        percent(fusion.share(fusion.count)),
        percent(fusion.share(fusion.printed)),
    ]


def _families(found: list[Fusion]) -> SizesSection:
    """Every family of every pair, with its small factor; too long for the picture."""
    return SizesSection(
        "Every operator",
        [
            Column("Operator", words=True),
            Column("r"),
            Column("Small factors", words=True),
            Column("Trained", words=True),
            Column("Count, r²"),
            Column("Count, first power"),
            Column("Ratio"),
            Column("Share of small model"),
        ],
        [
            Group(
                f"{_heading(fusion)}, radii {fusion.radii_name}",
                [_family(fusion, line) for line in fusion.lines],
            )
            for fusion in found
        ],
        drawn=False,
    )


def _family(fusion: Fusion, line: OperatorLine) -> list[str]:
    return [
        line.operator,
        str(line.radius),
        _factor(line),
        "yes" if line.learned else "no, the identity",
        count(line.count),
        count(line.printed),
        f"{line.printed / line.count:.3g}",
        percent(fusion.share(line.count), 2),
    ]


def _factor(line: OperatorLine) -> str:
    return f"{line.factors} × [{line.rows}, {line.columns}]"


def _models(fusion: Fusion) -> str:
    return f"{fusion.label} to {fusion.target_name}"


def _heading(fusion: Fusion) -> str:
    preset = f", preset {fusion.preset}" if fusion.preset else ""
    return f"{_models(fusion)}{preset}"


def _notes(found: list[Fusion]) -> list[str]:
    paper = next(fusion for fusion in found if fusion.published)
    gamma = paper.line("layer")
    depth = paper.source.num_hidden_layers
    ratio = paper.printed / paper.count
    notes = [
        "Equation 3 and footnote 2 of the paper put r² into the denominator, as a small factor has "
        "[out / r, in / r] entries; Table 1 prints the first power of r (E20). For "
        f"{paper.label} to {PAPER_SMALL} with r = {paper.radii.ffn} that is "
        f"{millions(paper.printed)} against {millions(paper.count)}, {ratio:.3g} times as much.",
        f"The layer operator is one [L2, L1] matrix for each of nine types: {count(gamma.count)} = "
        f"9 × {gamma.rows} × {gamma.columns} entries here, where Table 1 prints one vector of "
        f"{count(gamma.printed)}. From {depth} to {depth} layers it is the identity and is not "
        "trained.",
        "Attention and FFN operators are counted over all source layers, since widths are fused "
        "before depth; B is one for the whole model.",
    ]
    wider = next((f for f in found if f.radii.hidden != PAPER_RADII.hidden), None)
    if wider is not None:
        hidden = replace(wider, radii=replace(wider.radii, hidden=PAPER_RADII.hidden))
        notes.append(
            "The paper names r_a and r_i; r_h is taken to be r_i. "
            f"With r_h = {hidden.radii.hidden} instead of {wider.radii.hidden}, "
            f"{wider.radii_name} of {_models(wider)} would have {millions(hidden.count)} entries "
            f"instead of {millions(wider.count)}."
        )
    grouped = [f for f in found if f.source.group_size > 1]
    seen: dict[str, str] = {}
    for fusion in grouped:
        line = fusion.line("attention")
        seen.setdefault(
            fusion.preset,
            f"{fusion.label} {count(line.count)} instead of {count(line.query_count)} "
            f"({fusion.radii_name})",
        )
    if seen:
        notes.append(
            "With grouped-query attention the attention operator acts on the key/value axis, and "
            "the query heads of a group are mixed as their key/value head is; its count is smaller "
            "than the paper's formula, which has the query axis, by the square of the group: "
            + "; ".join(seen.values())
            + "."
        )
    larger = next(fusion for fusion in found if fusion.label == LLAMA2_13B_LABEL)
    exact = larger.source.intermediate_size * 5 / 8
    notes.append(
        f"The paper narrows no {larger.label}; its sizes here follow the rule that fits Table 5 "
        "(E41), 62.5 % of each width rounded up to a multiple of 128: hidden "
        f"{larger.target.hidden_size}, FFN {larger.target.intermediate_size} (62.5 % is "
        f"{exact:g}), {larger.target.num_attention_heads} heads. Its radii are the paper's."
    )
    return notes
