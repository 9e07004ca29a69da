"""The numbers and text of Table 1: shapes and counts of the operators."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import pandas as pd

from lemon.published.models import LLAMA2_13B_LABEL
from lemon.published.tables import published_table
from lemon.reporting.facts.operator_sizes import (
    PAPER_RADII,
    PAPER_SMALL,
    ModelPair,
    OperatorLine,
)
from lemon.reporting.numbers import count, millions, percent, signed_count
from lemon.reporting.tables.document import (
    Column,
    Group,
    Section,
    WordedTable,
    numbers,
    words,
)

PRINTED = {line["operator"]: line for line in published_table("table1")}


def operator_sizes_table(pairs: list[ModelPair]) -> WordedTable:
    """The table: compared with the paper, at all presets' radii, and by operator family."""
    beside_paper = next(pair for pair in pairs if pair.published)
    return WordedTable(
        operator_frame(pairs),
        subtitle=f"Computed from the shapes of {len(pairs)} pairs of models and radii; Table 4 "
        "says how the paper's radii are mapped",
        sections=[_beside_paper(beside_paper), _totals(pairs), _families(pairs)],
        notes=_notes(pairs),
    )


def operator_frame(pairs: list[ModelPair]) -> pd.DataFrame:
    """The tidy form, one line for each pair of models and family; shares are fractions."""
    lines = [_tidy(pair, line) for pair in pairs for line in pair.lines]
    return pd.DataFrame(lines).convert_dtypes()


def _tidy(pair: ModelPair, line: OperatorLine) -> dict[str, Any]:
    paper = PRINTED[line.operator]
    squared, first = _published_counts(paper) if pair.published else (None, None)
    return {
        "preset": pair.preset or None,
        "source": pair.label,
        "target": pair.target_name,
        "radii": pair.radii_name,
        **{f"radius_{name}": radius for name, radius in vars(pair.radii).items()},
        "operator": line.operator,
        "factor_rows": line.rows,
        "factor_columns": line.columns,
        "factors": line.factors,
        "learned": str(line.learned).lower(),
        "count": line.count,
        "count_first_power": line.printed,
        "first_power_over_count": round(line.printed / line.count, 6),
        "count_on_query_axis": line.query_count,
        "small_model_parameters": pair.target.num_parameters,
        "share_of_small_model": round(pair.share(line.count), 6),
        "published_symbol": paper["symbol"],
        "published_shape": paper["shape_as_printed"],
        "published_count": squared,
        "count_difference": None if squared is None else line.count - squared,
        "published_count_first_power": first,
        "first_power_difference": None if first is None else line.printed - first,
    }


def _published_counts(paper: dict[str, str]) -> tuple[int, int]:
    """The counts for 7B to 2.7B with r = 2, divided by r squared and by r."""
    return int(paper["count_7b_to_2p7b_all_r2"]), int(paper["count_if_printed_power_all_r2"])


def _beside_paper(pair: ModelPair) -> Section:
    """The only case with published counts."""
    lines = []
    for line in pair.lines:
        paper = PRINTED[line.operator]
        squared, first = _published_counts(paper)
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
                *_ratio_and_share(pair, line),
            ]
        )
    return Section(
        f"{pair.label} to {PAPER_SMALL}, r = {pair.radii.ffn} on every axis, beside the paper",
        [
            *words("Operator", "Symbol", "Shape as printed", "Small factors"),
            *numbers("Count, r²", "Published, r²", "Difference"),
            *numbers("Count, first power", "Published, first power", "Difference"),
            *numbers("Ratio", "Share of small model"),
        ],
        [Group("", lines)],
        "Published: the counts of published/table1.csv, worked from the paper's formulas, since it "
        "prints none.",
        drawn=True,
    )


def _totals(pairs: list[ModelPair]) -> Section:
    return Section(
        "At the radii of Table 4",
        [
            *words("Radii in the paper", "r_h, r_a, r_i"),
            *numbers("B", "A_attn", "A_ffn", "All, r²", "All, first power", "Ratio"),
            *numbers("Small model", "Share of it, r²", "Share, first power"),
        ],
        [Group(heading, [*map(_total, own)]) for heading, own in groupby(pairs, _heading)],
        "All: what is trained, without the identity between equal depths. Counts from a million "
        "on are rounded; the CSV has them exactly.",
        drawn=True,
    )


def _total(pair: ModelPair) -> list[str]:
    radii = pair.radii
    return [
        pair.radii_name,
        f"{radii.hidden}, {radii.attention}, {radii.ffn}",
        *(millions(pair.line(name).count) for name in ("hidden", "attention", "intermediate")),
        millions(pair.count),
        millions(pair.printed),
        f"{pair.printed / pair.count:.2f}",
        millions(pair.target.num_parameters),
        percent(pair.share(pair.count)),
        percent(pair.share(pair.printed)),
    ]


def _families(pairs: list[ModelPair]) -> Section:
    """All families of all pairs, with their small factors; too long for the picture."""
    return Section(
        "Every operator",
        [
            *words("Operator"),
            Column("r"),
            *words("Small factors", "Trained"),
            *numbers("Count, r²", "Count, first power", "Ratio", "Share of small model"),
        ],
        [
            Group(
                f"{_heading(pair)}, radii {pair.radii_name}",
                [_family(pair, line) for line in pair.lines],
            )
            for pair in pairs
        ],
    )


def _family(pair: ModelPair, line: OperatorLine) -> list[str]:
    return [
        line.operator,
        str(line.radius),
        _factor(line),
        "yes" if line.learned else "no, the identity",
        count(line.count),
        count(line.printed),
        *_ratio_and_share(pair, line),
    ]


def _ratio_and_share(pair: ModelPair, line: OperatorLine) -> tuple[str, str]:
    return f"{line.printed / line.count:.3g}", percent(pair.share(line.count), 2)


def _factor(line: OperatorLine) -> str:
    return f"{line.factors} × [{line.rows}, {line.columns}]"


def _heading(pair: ModelPair) -> str:
    preset = f", preset {pair.preset}" if pair.preset else ""
    return f"{pair.label} to {pair.target_name}{preset}"


def _notes(pairs: list[ModelPair]) -> list[str]:
    paper = next(pair for pair in pairs if pair.published)
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
    wider = next((pair for pair in pairs if pair.radii.hidden != PAPER_RADII.hidden), None)
    if wider is not None:
        hidden = replace(wider, radii=replace(wider.radii, hidden=PAPER_RADII.hidden))
        notes.append(
            "The paper names r_a and r_i; r_h is taken to be r_i. "
            f"With r_h = {hidden.radii.hidden} instead of {wider.radii.hidden}, "
            f"{wider.radii_name} of {wider.label} to {wider.target_name} would have "
            f"{millions(hidden.count)} entries instead of {millions(wider.count)}."
        )
    grouped: dict[str, str] = {}
    for pair in pairs:
        line = pair.line("attention")
        if line.group > 1:
            smaller = f"{pair.label} {count(line.count)} instead of {count(line.query_count)}"
            grouped.setdefault(pair.preset, f"{smaller} ({pair.radii_name})")
    if grouped:
        notes.append(
            "With grouped-query attention the attention operator acts on the key/value axis, and "
            "the query heads of a group are mixed as their key/value head is; its count is smaller "
            "than the paper's formula, which has the query axis, by the square of the group: "
            f"{'; '.join(grouped.values())}."
        )
    larger = next(pair for pair in pairs if pair.label == LLAMA2_13B_LABEL)
    exact = larger.source.intermediate_size * 5 / 8
    notes.append(
        f"The paper narrows no {larger.label}; its sizes here follow the rule that fits Table 5 "
        "(E41), 62.5 % of each width rounded up to a multiple of 128: hidden "
        f"{larger.target.hidden_size}, FFN {larger.target.intermediate_size} (62.5 % is "
        f"{exact:g}), {larger.target.num_attention_heads} heads. Its radii are the paper's."
    )
    return notes
